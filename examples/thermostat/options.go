// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
)

// options are the settings of a device, and those that this program has besides.
type options struct {
	_ [0]func() // never compared, which saves code in a device's program

	*settings.Settings
	interval  time.Duration
	logFormat string
	status    bool
	version   bool
}

func newOptions() *options {
	o := &options{
		Settings: settings.New("thermostat"), interval: time.Minute, logFormat: "json",
	}
	o.Add(
		settings.Option{Name: "interval", Value: "DURATION",
			Usage: "time between two messages (default 1m)",
			Assign: settings.Duration(
				&o.interval, 100*time.Millisecond, "is too short: use 100ms or more",
			)},
		settings.Option{Name: "log-format", Value: "json|text",
			Usage: "form of the log on standard error (default json)",
			Assign: settings.OneOf(
				&o.logFormat, "is not a log format: use json or text", "json", "text",
			)},
		settings.Option{Name: "status", Assign: settings.Toggle(&o.status),
			Usage: "print what is stored, as JSON, and exit"},
		settings.Option{Name: "version", Assign: settings.Toggle(&o.version),
			Usage: "print the version and exit"},
	)
	return o
}

// check finds what is wrong with the settings together.
func (o *options) check() error {
	if o.status && o.Store == "" {
		return errors.New("-status needs -store: the directory to look into")
	}
	return nil
}

func (o *options) printUsage(w io.Writer) {
	o.PrintUsage(w, "thermostat -id-scope SCOPE -registration-id ID (-key BASE64 | "+
		"-group-key BASE64 | -cert FILE -cert-key FILE) [-store DIR] [flags]")
}
