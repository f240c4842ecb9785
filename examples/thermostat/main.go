// SPDX-License-Identifier: Apache-2.0

// Command thermostat is a device program for a Raspberry Pi or another small board: it sends a
// temperature to the IoT hub it is assigned to, follows the target that is set there, answers
// direct methods, and shows how a program uses packages provisioning and hubconn. README.md has its
// settings, its log and how to install it.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
	"github.com/rehome-iot/rehome/examples/internal/systemd"
	"github.com/rehome-iot/rehome/provisioning"
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	inbox := openInbox() // first of all: a SIGHUP ends a program that has not asked for it
	manager, err := systemd.Open(environ, os.Getpid())
	if err != nil {
		fmt.Fprintf(stderr, "thermostat: %v\n", err)
	}
	report := newReporter(manager)
	code, err := start(args, environ, stdout, stderr, inbox, report)
	// read the settings and their files, and what is stored, as at any start
	for errors.Is(err, errReboot) {
		code, err = start(args, environ, stdout, stderr, inbox, report)
	}
	if err == nil {
		return code
	}
	return settings.Exit("thermostat", err, stdout, stderr, newOptions().printUsage)
}

func start(
	args, environ []string, stdout, stderr io.Writer, inbox *inbox, report *reporter,
) (code int, err error) {
	o := newOptions()
	if err := o.Read(args, environ); err != nil {
		return 0, settings.UsageError{Err: err}
	}
	if o.version {
		settings.PrintVersion(stdout, "thermostat")
		return 0, nil
	}
	log := settings.NewLogger(stderr, o.logFormat)
	dev, err := o.Device(log)
	if err == nil {
		err = o.check()
	}
	if err != nil {
		return 0, settings.UsageError{Err: err}
	}
	dev.ModelID = modelID
	if o.status {
		return printStatus(stdout, o, dev)
	}
	for _, w := range o.Warnings {
		log.Warn(w)
	}
	return 0, serve(dev, o, log, inbox, report)
}

// printStatus prints what is stored, and what the program that runs the device is doing, and
// returns the exit status that says whether that is connected. It uses no network and changes
// nothing.
func printStatus(w io.Writer, o *options, dev *provisioning.Device) (code int, err error) {
	s, err := stored.Read(context.Background(), o.Store, dev)
	if err != nil {
		return 0, settings.UsageError{Err: o.Wrong("store", err)}
	}
	return s.ExitCode(), s.PrintJSON(w)
}
