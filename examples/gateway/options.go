// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/identities"
	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// options are the settings of a gateway. Those of who a device is are in the file of identities.
type options struct {
	*settings.Settings
	identities string
	dir        string
	http, mqtt string
	token      string

	commitInterval time.Duration
	keepBytes      int64
	keepFor        time.Duration
	full           string

	dpsPerMinute, hubPerSecond float64

	replica       string
	nats          string
	natsCreds     string
	natsName      string
	clusterListen string
	clusterPeers  string
	copies        int
	leaseFor      time.Duration

	check     bool
	logFormat string
	version   bool

	sim simdial.Simulator
}

// The defaults that have no meaning as the zero value.
const (
	defaultHTTP      = "127.0.0.1:8080"
	defaultMQTT      = "127.0.0.1:1883"
	defaultKeepBytes = 1 << 20
	defaultLease     = 15 * time.Second
	defaultNATSName  = "rehome"

	longestInterval = 30 * time.Second

	none = "none" // in place of an address: nobody listens
)

func newOptions() *options {
	o := &options{
		Settings: settings.New("gateway"), http: defaultHTTP, mqtt: defaultMQTT,
		commitInterval: outbox.DefaultInterval, keepBytes: defaultKeepBytes, full: "oldest",
		natsName: defaultNATSName, leaseFor: defaultLease, logFormat: "json",
	}
	o.Only("id-scope", "group-key", "endpoint", "ca", "transport", "hub-transport", "connect-to",
		"stagger")
	o.PassOverKubernetes()
	o.UseFile("file of settings, each a line such as \"id-scope = 0ne00ABCDEF\"; flags and the " +
		"environment go before it")
	o.Add(
		settings.Option{Name: "identities", Value: "FILE", Assign: settings.Text(&o.identities),
			Usage: "CSV or JSON file that lists the devices (required; read again on SIGHUP)"},
		settings.Option{Name: "dir", Value: "DIR", Assign: settings.Text(&o.dir),
			Usage: "directory of what is remembered and kept (required)"},
		settings.Option{Name: "http", Value: "ADDRESS", Assign: address(&o.http),
			Usage: "HOST:PORT or unix:PATH for messages, status and metrics, or none " +
				"(default " + defaultHTTP + ")"},
		settings.Option{Name: "mqtt", Value: "ADDRESS", Assign: address(&o.mqtt),
			Usage: "HOST:PORT or unix:PATH for messages by MQTT 3.1.1, or none " +
				"(default " + defaultMQTT + ")"},
		settings.Option{Name: "token", Value: "TEXT", Secret: true, Assign: assignToken(&o.token),
			Usage: "what clients have to show: a bearer token of HTTP, the password of MQTT; " +
				"better in the environment (default none: whoever reaches the ports may send)"},
		settings.Option{Name: "commit-interval", Value: "DURATION",
			Usage: "least time between two writes of messages to the medium, and most that a " +
				"sender waits for one (default 1s)",
			Assign: settings.Duration(&o.commitInterval, time.Millisecond,
				"is too short: use 1ms or more")},
		settings.Option{Name: "keep-bytes", Value: "BYTES", Assign: bytes(&o.keepBytes),
			Usage: "how much is kept for each device while it is not connected, such as 16M; " +
				"320K or more (default 1M)"},
		settings.Option{Name: "keep-for", Value: "DURATION",
			Usage: "for how long a message is kept (default any time)",
			Assign: settings.Duration(&o.keepFor, time.Second,
				"is too short: use 1s or more, or leave it out")},
		settings.Option{Name: "drop", Value: "oldest|newest",
			Usage: "which messages give way when a device has no room (default oldest; newest: " +
				"its sender is refused)",
			Assign: settings.OneOf(&o.full, "is none of the two: use oldest or newest",
				"oldest", "newest")},
		settings.Option{Name: "dps-per-minute", Value: "NUMBER", Assign: rate(&o.dpsPerMinute),
			Usage: "how many registrations may begin each minute (default 500, half of a DPS " +
				"instance's quota; with replicas, give each its part)"},
		settings.Option{Name: "hub-per-second", Value: "NUMBER", Assign: rate(&o.hubPerSecond),
			Usage: "how many connections to a hub may begin each second (default 50, half of the " +
				"smallest hub's quota; with replicas, give each its part)"},
		settings.Option{Name: "replica", Value: "NAME", Assign: settings.Text(&o.replica),
			Usage: "name of this replica, always the same and no other's (default the host's " +
				"name)"},
		settings.Option{Name: "nats", Value: "URL[,URL]", Secret: true,
			Assign: settings.Text(&o.nats),
			Usage:  "NATS servers by which several replicas share the devices (default none)"},
		settings.Option{Name: "nats-creds", Value: "FILE", Assign: settings.Text(&o.natsCreds),
			Usage: "credentials file for these servers (default none)"},
		settings.Option{Name: "nats-name", Value: "NAME", Assign: assignNATSName(&o.natsName),
			Usage: "what the replicas have in common in NATS, and no other gateways there " +
				"(default " + defaultNATSName + ")"},
		settings.Option{Name: "cluster-listen", Value: "HOST:PORT",
			Assign: settings.Text(&o.clusterListen),
			Usage: "in place of -nats: run a NATS server in this process, reached by the other " +
				"replicas here; the port has no authentication (default none)"},
		settings.Option{Name: "cluster-peers", Value: "HOST:PORT[,HOST:PORT]",
			Assign: settings.Text(&o.clusterPeers),
			Usage:  "the -cluster-listen of all replicas, this one among them"},
		settings.Option{Name: "copies", Value: "1|3|5", Assign: copies(&o.copies),
			Usage: "how many NATS servers keep what is remembered and leased, when it is first " +
				"made (default 3 with -cluster-peers, 1 with -nats)"},
		settings.Option{Name: "lease", Value: "DURATION",
			Usage: "after how long without a sign of life a replica's devices are taken over " +
				"(default 15s)",
			Assign: settings.Duration(&o.leaseFor, time.Second, "is too short: use 1s or more")},
		settings.Option{Name: "check", FlagOnly: true, Assign: settings.Toggle(&o.check),
			Usage: "look at the settings and the identities, say what is wrong, and exit"},
		settings.Option{Name: "log-format", Value: "json|text",
			Usage: "form of the log on standard error (default json)",
			Assign: settings.OneOf(
				&o.logFormat, "is not a log format: use json or text", "json", "text",
			)},
		settings.Option{Name: "version", FlagOnly: true, Assign: settings.Toggle(&o.version),
			Usage: "print the version and exit"},
	)
	return o
}

func (o *options) printUsage(w io.Writer) {
	o.PrintUsage(w, "gateway -id-scope SCOPE -identities FILE -dir DIR [flags]")
}

// complete finds what is wrong with the settings together, before anything is opened.
func (o *options) complete() (err error) {
	for _, need := range []struct{ name, value, what string }{
		{"id-scope", o.IDScope, "the ID scope of the dps instance, from its overview page"},
		{"identities", o.identities, "the file that lists the devices"},
		{"dir", o.dir, "a directory to remember and keep in"},
	} {
		if need.value == "" {
			return fmt.Errorf("-%s is missing: give %s (or set %s)", need.name, need.what,
				o.EnvName(need.name))
		}
	}
	client := dps.Client{
		IDScope: o.IDScope, Attestation: dps.SymmetricKey{ID: "any", Key: anyKey},
	}
	if err := client.Validate(); err != nil {
		return o.Wrong("id-scope", err)
	}
	client.Endpoint, client.Transport = o.Endpoint, o.Transport
	if err := client.Validate(); err != nil {
		return o.Wrong("endpoint", err)
	}
	if _, err := dps.DeriveDeviceKey(o.GroupKey, "any"); o.GroupKey != "" && err != nil {
		if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Err != nil {
			err = failure.Err
		}
		return fmt.Errorf("%s: %w", o.Origin("group-key"), err) // which does not show it
	}
	if !filepath.IsAbs(o.dir) {
		if o.dir, err = filepath.Abs(o.dir); err != nil {
			return o.Wrong("dir", err)
		}
	}
	if o.commitInterval > longestInterval {
		return o.Wrong("commit-interval", fmt.Errorf("is too long: senders wait for it; use %v or "+
			"less", longestInterval))
	}
	if err := o.checkReplicas(); err != nil {
		return err
	}
	if o.sim, err = simdial.FromEnv(); err != nil {
		return err
	}
	if len(o.Redirects) > 0 || o.sim.DialContext == nil {
		o.sim.DialContext = o.Redirects.DialContext
	}
	if o.CA != "" || o.sim.TLSConfig == nil {
		roots, err := o.Roots()
		if err != nil {
			return err
		}
		o.sim.TLSConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	}
	return nil
}

var anyKey = strings.Repeat("A", 44) // a valid one, to hear about the rest

func (o *options) checkReplicas() error {
	switch {
	case o.nats != "" && o.clusterListen != "":
		return fmt.Errorf("%s and %s are both given: keep one", o.Origin("nats"),
			o.Origin("cluster-listen"))
	case o.clusterListen != "" && o.clusterPeers == "":
		return fmt.Errorf("%s needs -cluster-peers: the addresses of all replicas",
			o.Origin("cluster-listen"))
	case o.clusterPeers != "" && o.clusterListen == "":
		return fmt.Errorf("%s needs -cluster-listen: the one of them that is this replica's",
			o.Origin("cluster-peers"))
	case o.natsCreds != "" && o.nats == "":
		return fmt.Errorf("%s needs -nats: the servers they are for", o.Origin("nats-creds"))
	case o.clusterPeers != "" && strings.Count(o.clusterPeers, ",") < 2:
		return fmt.Errorf("%s has less than three addresses: of two, none goes on without the "+
			"other", o.Origin("cluster-peers"))
	}
	for _, name := range []string{"replica", "nats-name"} {
		if o.Given(name) && !o.replicated() {
			return fmt.Errorf("%s needs -nats or -cluster-listen: by which the replicas meet",
				o.Origin(name))
		}
	}
	if err := checkServers(o.nats); o.nats != "" && err != nil {
		return fmt.Errorf("%s %w", o.Origin("nats"), err)
	}
	if _, err := os.Stat(o.natsCreds); o.natsCreds != "" && err != nil {
		return o.Wrong("nats-creds", fmt.Errorf("%w: name a file that this user can read", err))
	}
	if o.copies == 0 {
		o.copies = 1
		if o.clusterListen != "" {
			o.copies = 3
		}
	}
	if host, err := os.Hostname(); o.replica == "" && o.replicated() {
		if err != nil {
			return errors.New("-replica is missing, and this host has no name: give one")
		}
		o.replica = host
	}
	for name, list := range map[string]string{
		"cluster-listen": o.clusterListen, "cluster-peers": o.clusterPeers,
	} {
		for _, at := range strings.Split(list, ",") {
			if _, _, err := net.SplitHostPort(at); list != "" && err != nil {
				return o.Wrong(name, errors.New("has a part that is no address: use HOST:PORT"))
			}
		}
	}
	return nil
}

// replicated says that there are, or may be, several replicas.
func (o *options) replicated() bool { return o.nats != "" || o.clusterListen != "" }

func (o *options) source() identities.Source {
	return identities.Source{Path: o.identities, GroupKey: o.GroupKey}
}
