// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
)

// status shows what is stored for the device. It uses no network and changes nothing.
func status(ctx context.Context, p *program) error {
	if p.Store == "" && p.IDScope != "" {
		return settings.UsageError{Err: fmt.Errorf(
			"-store is missing: give the directory to look into (or set %s)", p.EnvName("store"),
		)}
	}
	dev, err := p.device()
	if err != nil {
		return err
	}
	s, err := stored.Read(ctx, p.Store, dev)
	if err != nil {
		return settings.UsageError{Err: p.Wrong("store", err)}
	}
	if p.format == "json" {
		err = s.PrintJSON(p.stdout)
	} else {
		err = p.print(s, statusLines(s)...)
	}
	if err != nil {
		return err
	}
	switch code := s.ExitCode(); code {
	case stored.ExitConnected:
		return nil
	case stored.ExitEmpty:
		return errors.New("nothing that a start could use is stored for this device")
	default:
		return statusError(code)
	}
}

// statusError is an exit code of its own: the device is not connected now.
type statusError int

func (statusError) Error() string { return "no program runs that has this device connected now" }

func statusLines(s stored.Status) (lines []string) {
	add := func(name, value string) { lines = append(lines, row(name, value)...) }
	add("registration", s.RegistrationID)
	if a := s.Confirmed; a != nil {
		add("hub", a.Hub)
		add("device id", a.DeviceID)
	}
	if a := s.Candidate; a != nil {
		add("not yet tried", a.Hub)
	}
	add("saved", s.Saved)
	add("stored", strconv.FormatUint(s.Sequence, 10)+" times")
	add("problem", s.Problem)
	add("credential", s.Credential)
	if c := s.Certificate; c != nil {
		add("valid from", c.ValidFrom)
		add("valid until", c.ValidUntil)
		add("next renewal", c.NextRenewal)
		add("last failure", c.LastFailure)
	}
	if s.Running != nil {
		add("runs", s.Running.String())
	}
	add("a start does", s.Next)
	add("tries the hub", s.NextHub)
	add("asks dps", s.NextDPS)
	add("leave hub", s.HubRetryAfter)
	add("leave dps", s.DPSRetryAfter)
	return lines
}
