// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// program is one run of a subcommand: the settings of a device, those of the subcommand, and where
// it reads and writes.
type program struct {
	*settings.Settings
	command command
	format  string
	verbose bool
	timeout time.Duration

	redirectedBy string // the setting that leads elsewhere, if it is not -connect-to

	groupKeyFile string // of derive-key

	body        string // of send
	over        string
	contentType string
	properties  map[string]string

	answer string // of watch

	register  bool // of why
	noConnect bool
	connect   bool

	stdin          io.Reader
	stdout, stderr io.Writer
}

func newProgram(c command, stdin io.Reader, stdout, stderr io.Writer) *program {
	p := &program{
		Settings: settings.New("rehome " + c.name), command: c, format: "text",
		timeout: time.Minute, over: "mqtt", answer: "ok", properties: map[string]string{},
		stdin: stdin, stdout: stdout, stderr: stderr,
	}
	p.Add(
		settings.Option{Name: "format", Value: "json|text",
			Usage: "form of what is printed (default text)",
			Assign: settings.OneOf(
				&p.format, "is not a format: use json or text", "json", "text",
			)},
		settings.Option{Name: settings.EnvOf, Value: "PROGRAM", FlagOnly: true,
			Usage: "take what is not set from another program's variables, such as " +
				"thermostat: THERMOSTAT_KEY for REHOME_KEY",
			Assign: func(text string) error {
				if text == "" || strings.Trim(text, "abcdefghijklmnopqrstuvwxyz-") != "" {
					return errors.New("is not a program's name: use lower-case letters")
				}
				return nil
			}},
		settings.Option{Name: "verbose", Assign: settings.Toggle(&p.verbose),
			Usage: "log on standard error what the device does"},
		p.simulatorOption(),
	)
	if c.options != nil {
		p.Add(c.options(p)...)
	}
	return p
}

// timeoutOption is of the subcommands that end by themselves.
func (p *program) timeoutOption() []settings.Option {
	return []settings.Option{{Name: "timeout", Value: "DURATION", FlagOnly: true,
		Usage:  "how long it may take (default 1m)",
		Assign: settings.Duration(&p.timeout, time.Second, "is too short: use 1s or more")}}
}

// errTimeout is the cause of an end by -timeout.
var errTimeout = errors.New("no success within -timeout: rehome why says where it fails")

func (p *program) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, p.timeout, errTimeout)
}

// device is the device of the settings.
func (p *program) device() (*provisioning.Device, error) {
	// Without a Logger, the library tells the default one what only a person can mend.
	log := slog.New(slog.DiscardHandler)
	if p.verbose {
		log = settings.NewLogger(p.stderr, p.format)
	}
	dev, err := p.Device(log)
	if err != nil {
		return nil, settings.UsageError{Err: err}
	}
	return dev, nil
}

// client makes one attempt at DPS as the device would.
func client(dev *provisioning.Device) *dps.Client {
	return &dps.Client{
		IDScope: dev.IDScope, Attestation: dev.Attestation, Endpoint: dev.Endpoint,
		Transport: dev.Transport, TLSConfig: dev.TLSConfig, DialContext: dev.DialContext,
	}
}

func (p *program) printUsage(w io.Writer) {
	c := p.command
	fmt.Fprintf(w, "rehome %s: %s\n\n", c.name, c.does)
	p.PrintUsage(w, "rehome "+c.name+" "+c.needs+" [flags]")
}

func printUsage(w io.Writer) {
	fmt.Fprint(w, "usage: rehome SUBCOMMAND [flags]\n\n")
	for _, c := range commands {
		fmt.Fprintf(w, "  %-12s%s\n", c.name, c.does)
	}
	fmt.Fprint(w, "\nrehome SUBCOMMAND -help lists its flags. Most of them say who the device is "+
		"and are the same\nfor all; the environment may hold them too: REHOME_KEY is -key.\n\n"+
		"Exit code: 0 it worked, 1 it did not, 2 a setting is wrong; of status also 3, not "+
		"connected now.\n")
}
