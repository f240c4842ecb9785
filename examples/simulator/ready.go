// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
)

// ready is the one line on standard output. It is there when devices can connect.
type ready struct {
	Ready   bool     `json:"ready"`
	HTTPS   string   `json:"https"`
	MQTT    string   `json:"mqtt"`
	IDScope string   `json:"idScope"`
	DPS     string   `json:"dps"`
	Service string   `json:"service"` // DPS's name for operators
	Hubs    []string `json:"hubs"`
	// where devices upload to, by hub
	Blobs map[string]string `json:"blobs"`
	CA    string            `json:"ca"`

	Feed    string `json:"feed"`              // where the simulator's own interface is
	FeedKey string `json:"feedKey"`           // and the key that it wants
	Console string `json:"console,omitempty"` // the page's address

	ServiceConnectionString string            `json:"serviceConnectionString"`
	HubConnectionStrings    map[string]string `json:"hubConnectionStrings"`
}

// announce prints the ready line, and for people how to connect.
func (s *simulator) announce(stdout, stderr io.Writer) error {
	hubs, blobs := map[string]string{}, map[string]string{}
	for _, h := range s.hubs {
		hubs[h.Host()], blobs[h.Host()] = h.ConnectionString(), h.BlobHost()
	}
	line, err := json.Marshal(ready{
		Ready: true, HTTPS: s.network.HTTPSAddr(), MQTT: s.network.MQTTAddr(),
		IDScope: s.dps.IDScope(), DPS: s.dps.Endpoint(), Service: s.dps.ServiceHost(),
		Hubs: s.hubHosts(), Blobs: blobs, CA: s.ca, Feed: s.feedURL(), FeedKey: s.feedKey,
		Console:                 s.consoleURL(),
		ServiceConnectionString: s.dps.ServiceConnectionString(), HubConnectionStrings: hubs,
	})
	if err != nil {
		return err
	}
	s.log.Info(
		"simulator is ready", "https", s.network.HTTPSAddr(), "mqtt", s.network.MQTTAddr(), "hubs",
		s.hubHosts(),
	)
	if s.flags.amqp != 0 && s.network.AMQPAddr() == "" {
		s.log.Info(
			"another program has the port of AMQP: here nobody tells its clients what to use",
			"port", s.flags.amqp,
		)
	}
	if url := s.consoleURL(); url != "" {
		s.log.Info("console is ready", "url", url)
	}
	if command, ok := s.thermostat(); ok {
		fmt.Fprintf(
			stderr,
			"A thermostat connects to it with this command, run in the project's root:\n\n  %s\n\n",
			command,
		)
	} else {
		fmt.Fprint(
			stderr,
			"No enrollment has a symmetric key, so there is no thermostat command to show.\n",
		)
	}
	if err := s.showExports(stderr); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n", line)
	return err
}

// feedURL is where a client on this machine finds the feed.
func (s *simulator) feedURL() string {
	_, port := reachable(s.network.HTTPSAddr())
	return "https://" + net.JoinHostPort("localhost", port) + prefix
}

func (s *simulator) hubHosts() []string {
	hosts := []string{} // [] and not null
	for _, h := range s.hubs {
		hosts = append(hosts, h.Host())
	}
	return hosts
}

// reachable is an address of a listener as a client on this machine dials it.
func reachable(address string) (host, port string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return host, port
}
