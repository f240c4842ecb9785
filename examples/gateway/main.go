// SPDX-License-Identifier: Apache-2.0

// Command gateway speaks for many devices: it runs each of those that a file lists, takes their
// telemetry by HTTP and MQTT from local senders, and keeps it until their hubs have it. Several
// replicas share the devices out. README.md has its settings, its inputs and how to install it.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/systemd"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	received := listenToSignals() // first of all: a SIGHUP ends a program that has not asked for it
	manager, err := systemd.Open(environ, os.Getpid())
	if err != nil {
		fmt.Fprintf(stderr, "gateway: %v\n", err)
	}
	err = start(args, environ, stdout, stderr, received, manager)
	return settings.Exit("gateway", err, stdout, stderr, newOptions().printUsage)
}

func start(
	args, environ []string, stdout, stderr io.Writer, received *signals, manager *systemd.Notifier,
) error {
	o := newOptions()
	if err := o.Read(args, environ); err != nil {
		return settings.UsageError{Err: err}
	}
	if o.version {
		settings.PrintVersion(stdout, "gateway")
		return nil
	}
	if err := o.complete(); err != nil {
		return settings.UsageError{Err: err}
	}
	list, err := o.source().Read()
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			err = o.Wrong("identities", fmt.Errorf("%w: name a file that this user can read", err))
		}
		return settings.UsageError{Err: err}
	}
	if o.check {
		fmt.Fprintf(stdout, "%d identities in %s, and the settings are good\n", len(list),
			o.identities)
		return nil
	}
	log := settings.NewLogger(stderr, o.logFormat)
	g, err := open(o, list, log, whileOpening(received, manager))
	switch {
	case errors.Is(err, errStopped):
		log.Info("gateway stops", "cause", "asked to while it read what is kept")
		return nil
	case err != nil:
		return settings.UsageError{Err: err}
	}
	return g.serve(received, manager)
}
