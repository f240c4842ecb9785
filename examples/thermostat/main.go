// Command thermostat is a device program for a Raspberry Pi or another small board: it sends a
// temperature to the IoT hub it is assigned to, follows the target that is set there, answers
// direct methods, and shows how a program uses packages provisioning and hubconn. README.md has its
// settings, its log and how to install it.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// Exit codes.
const (
	exitDone   = 0 // asked to end, and ended
	exitFailed = 1 // something that should not happen
	exitUsage  = 2 // a setting or a file is wrong: one line says which
)

func main() { os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr)) }

func run(args, environ []string, stdout, stderr io.Writer) int {
	inbox := openInbox() // first of all: a SIGHUP ends a program that has not asked for it
	err := start(args, environ, stdout, stderr, inbox)
	// read the settings and their files, and what is stored, as at any start
	for errors.Is(err, errReboot) {
		err = start(args, environ, stdout, stderr, inbox)
	}
	if err == nil {
		return exitDone
	}
	if errors.Is(err, flag.ErrHelp) {
		printUsage(stdout)
		return exitDone
	}
	fmt.Fprintf(stderr, "thermostat: %v\n", err)
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// usageError is a wrong setting, or a file that one names.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func start(args, environ []string, stdout, stderr io.Writer, inbox *inbox) error {
	s, err := readSettings(args, environ)
	if err != nil {
		return usageError{err}
	}
	if s.version {
		printVersion(stdout)
		return nil
	}
	log := newLogger(stderr, s.logFormat)
	dev, err := newDevice(s, log)
	if err != nil {
		return usageError{err}
	}
	if s.status {
		return printStatus(context.Background(), stdout, s, dev)
	}
	for _, w := range s.warnings {
		log.Warn(w)
	}
	return serve(dev, s, log, inbox)
}

// newDevice turns the settings into a device. Whatever is wrong with them is found here, before any
// use of the network.
func newDevice(s *settings, log *slog.Logger) (*provisioning.Device, error) {
	if s.idScope == "" {
		return nil, fmt.Errorf("-id-scope is missing: give the id scope of the dps instance, "+
			"from its overview page (or set %s)", envName("id-scope"))
	}
	attestation, err := s.attestation()
	if err != nil {
		return nil, err
	}
	roots, err := s.roots()
	if err != nil {
		return nil, err
	}
	dev := &provisioning.Device{
		IDScope: s.idScope, Attestation: attestation, Endpoint: s.endpoint, Transport: s.transport,
		Stagger: s.stagger, DialContext: s.redirects.dialContext,
		TLSConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		Hub:       hubconn.Dialer{Transport: s.hubTransport}, ModelID: modelID, Logger: log,
	}
	if s.store != "" {
		dev.Store = cache.Dir(s.store)
	}
	return dev, s.check(dev)
}
