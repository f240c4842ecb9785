// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/rehome-iot/rehome/examples/internal/settings"
)

func (p *program) deriveOptions() []settings.Option {
	return []settings.Option{{Name: "group-key-file", Value: "FILE", FlagOnly: true,
		Usage: "file with the group's key, - for standard input (default: -group-key or " +
			"its variable, or else standard input)",
		Assign: settings.Text(&p.groupKeyFile)}}
}

// longestKey is far beyond any key in base64.
const longestKey = 4096

// deriveKey makes a device's key from that of its enrollment group. It uses no network.
func deriveKey(_ context.Context, p *program) error {
	if err := p.readGroupKey(); err != nil {
		return settings.UsageError{Err: err}
	}
	key, err := p.DerivedKey()
	if err != nil {
		return settings.UsageError{Err: err}
	}
	return p.print(struct {
		RegistrationID string `json:"registrationId"`
		Key            string `json:"key"`
	}{p.RegistrationID, key}, key)
}

// readGroupKey reads the key from where it is: a command line can be read by everybody on the
// machine.
func (p *program) readGroupKey() error {
	switch {
	case p.groupKeyFile != "" && p.Given("group-key"):
		return errors.New("-group-key and -group-key-file are both given: keep one")
	case p.groupKeyFile != "" && p.groupKeyFile != "-":
		f, err := os.Open(p.groupKeyFile)
		if err != nil {
			return p.Wrong("group-key-file", fmt.Errorf("%w: name a file with the key", err))
		}
		defer f.Close()
		return p.takeGroupKey("-group-key-file", f)
	case p.GroupKey != "":
		return nil
	}
	return p.takeGroupKey("standard input", p.stdin)
}

func (p *program) takeGroupKey(origin string, r io.Reader) error {
	data, err := io.ReadAll(io.LimitReader(r, longestKey))
	if err != nil {
		return fmt.Errorf("%s cannot be read: %w", origin, err)
	}
	p.GroupKey = string(bytes.TrimSpace(data))
	if p.GroupKey == "" {
		return fmt.Errorf("%s is empty: give the group's key there, as the portal shows it", origin)
	}
	p.Take("group-key", origin, p.GroupKey)
	return nil
}
