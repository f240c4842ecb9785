// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/live"
	"github.com/rehome-iot/rehome/examples/internal/systemd"
	"github.com/rehome-iot/rehome/provisioning"
)

// reporter tells those who watch the process how the device is doing: systemd, and whoever asks
// with -status. It lives as long as the process, beyond a reboot.
type reporter struct {
	manager *systemd.Notifier
	pings   chan struct{} // to the loop of serve, which takes them

	telling sync.Mutex // held while systemd is told a state

	mu    sync.Mutex
	told  live.State
	ready bool // systemd has been told that the service is up
}

func newReporter(manager *systemd.Notifier) *reporter {
	return &reporter{manager: manager, pings: make(chan struct{})}
}

// changed is called after every change of the device's state.
func (r *reporter) changed(s provisioning.Status) {
	now := r.state(s)
	r.telling.Lock()
	defer r.telling.Unlock()
	say := []string{systemd.Status(now.String())}
	up := now.Connected() && !r.isReady()
	if up {
		say = append(say, "READY=1")
	}
	// Who does not listen is told the next time: READY by watch, too, since a device may stay
	// connected for months.
	if err := r.manager.Send(say...); err == nil && up {
		r.mu.Lock()
		r.ready = true
		r.mu.Unlock()
	}
}

// state is what the device does, and since when.
func (r *reporter) state(s provisioning.Status) live.State {
	now := live.State{
		State: string(s.State), Hub: s.Hub.Host, Source: string(s.Source), Cause: s.Cause,
	}
	if next := soonest(s.NextHub, s.NextDPS); s.State == provisioning.StateWaiting &&
		!next.IsZero() {
		now.Next = next.UTC().Format(time.RFC3339)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now.Since = r.told.Since
	if now.State != r.told.State || now.Hub != r.told.Hub || now.Since == "" {
		now.Since = time.Now().UTC().Format(time.RFC3339)
	}
	r.told = now
	return now
}

// soonest is the earlier of two times, of which zero is never.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// reloading brackets what a SIGHUP asks for, so that systemctl reload shows when it is done. Before
// the service is up, READY would say too much.
func (r *reporter) reloading() (done func()) {
	if !r.isReady() {
		return func() {}
	}
	_ = r.manager.Send("RELOADING=1")
	return func() { _ = r.manager.Send("READY=1") }
}

func (r *reporter) stopping(cause string) {
	_ = r.manager.Send("STOPPING=1", systemd.Status("stopping: "+cause))
}

// answer lets -status, of a process that is started with the same store, ask this one.
func (r *reporter) answer(
	ctx context.Context, store string, dev *provisioning.Device, log *slog.Logger,
) {
	told := ""
	for {
		err := live.Serve(ctx, store, dev.Attestation.RegistrationID(), func() live.State {
			return r.state(dev.Status())
		})
		if ctx.Err() != nil {
			return
		}
		if cause := err.Error(); cause != told {
			told = cause
			log.Warn("state not shown to -status", "cause", cause)
		}
		select {
		case <-time.After(again):
		case <-ctx.Done():
			return
		}
	}
}
