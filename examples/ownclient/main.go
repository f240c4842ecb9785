// SPDX-License-Identifier: Apache-2.0

// Command ownclient is a device program with an MQTT client of its own: Eclipse Paho's for MQTT
// 3.1.1, or the one for MQTT 5 behind a translation. The library of this repository says which hub
// to try, and when; the client makes the connection. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program. The exit status is 2 for a wrong flag, 1 for what went wrong later.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("ownclient", flag.ContinueOnError)
	flags.SetOutput(stderr)
	scope := flags.String("id-scope", "", "ID scope of the DPS instance")
	id := flags.String("id", "", "registration ID")
	keyFile := flags.String("key-file", "", "file with the device's symmetric key, in base64")
	store := flags.String("store", "", "directory in which the assignment is remembered")
	library := flags.String("client", "paho", "paho (MQTT 3.1.1), paho5 (MQTT 5, translated) or "+
		"paho5-untranslated, which IoT Hub refuses")
	interval := flags.Duration("interval", time.Minute, "distance of the messages")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	connect, ok := clients[*library]
	if !ok {
		fmt.Fprintf(stderr, "ownclient: -client %q is unknown: use paho, paho5 or "+
			"paho5-untranslated\n", *library)
		return 2
	}
	key, err := os.ReadFile(*keyFile)
	if err != nil {
		fmt.Fprintln(stderr, "ownclient: -key-file:", err)
		return 2
	}
	p := &program{
		Device: &provisioning.Device{
			IDScope:     *scope,
			Attestation: dps.SymmetricKey{ID: *id, Key: strings.TrimSpace(string(key))},
			Store:       cache.Dir(*store),
		},
		connect: connect,
		log:     func(line string) { fmt.Fprintln(stdout, line) },
	}
	if err := p.keepConnected(ctx, p.measure(*interval)); err != nil && ctx.Err() == nil {
		fmt.Fprintln(stderr, "ownclient:", err)
		return 1
	}
	return 0
}

// clients are the libraries, by the names of the flag.
var clients = map[string]connector{
	"paho": connectPaho, "paho5": connectPaho5, "paho5-untranslated": connectPaho5Untranslated,
}

// measure is what the device does while it is connected.
func (p *program) measure(interval time.Duration) func(context.Context, *session) error {
	return func(ctx context.Context, s *session) error {
		for tick := time.Tick(interval); ; {
			if err := s.send(ctx, []byte(`{"temperature":21.5}`)); err != nil {
				return err
			}
			select {
			case <-tick:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}
