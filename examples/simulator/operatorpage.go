// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"

	"github.com/rehome-iot/rehome/examples/simulator/console"
)

// startConsole starts the page for people. What they do there are steps of scenarios, carried out
// here.
func (s *simulator) startConsole(address string) (*console.Server, error) {
	hubs := s.config.hubNames()
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		s.log.Warn("others can reach the console, and do anything there", "console", address)
	}
	return console.Start(address, console.Simulator{
		Network: s.network, DPS: s.dps, Hubs: s.hubs, Log: s.log,
		Do: func(data json.RawMessage) error {
			var st step
			if err := decode(data, &st); err != nil {
				return err
			}
			if err := st.check(hubs); err != nil {
				return err
			}
			if st.For != 0 {
				return fmt.Errorf("for: %s: this step is done now and for good", st.For)
			}
			return s.carryOut(s.moments(&st)[0])
		},
		Load: func(data json.RawMessage) (func(context.Context), error) {
			sc := new(scenario)
			if err := decode(data, sc); err != nil {
				return nil, err
			}
			if err := sc.check(hubs); err != nil {
				return nil, err
			}
			return func(ctx context.Context) { s.perform(ctx, sc, false) }, nil
		},
	})
}

func (s *simulator) consoleURL() string {
	if s.console == nil {
		return ""
	}
	return s.console.URL()
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil || host == "" {
		return errors.New("-console is no address with a port, such as 127.0.0.1:8080")
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return errors.New("-console has no port: ports are 0 to 65535, 0 takes a free one")
	}
	return nil
}
