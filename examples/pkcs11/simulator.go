// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
)

// ready is what a simulator says of itself when it is ready (examples/simulator).
type ready struct {
	HTTPS   string `json:"https"`
	MQTT    string `json:"mqtt"`
	IDScope string `json:"idScope"`
	CA      string `json:"ca"`
}

func readReady(file string) (r ready, err error) {
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err != nil {
		return r, fmt.Errorf("-simulator: %s is not what the simulator printed: %w", file, err)
	}
	return r, nil
}

// dial goes to the simulator's ports, whatever the host. Certificates are checked for the host.
func (r ready) dial(ctx context.Context, network, address string) (net.Conn, error) {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	to := r.HTTPS
	if port == "8883" {
		to = r.MQTT
	}
	return new(net.Dialer).DialContext(ctx, network, to)
}
