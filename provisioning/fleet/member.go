// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning"
)

// causeMax is how much of an error's text, in characters, a line of the log has.
const causeMax = 1000

// restedAfter is for how long an identity has to run before its failures are forgotten.
const restedAfter = 10 * time.Minute

// member is one identity. The Fleet's lock is held for its fields.
type member struct {
	fleet  *Fleet
	id     string
	number int // in the order in which they were added

	device  *provisioning.Device // nil: not made yet
	turns   *turnstile           // its device's
	removed bool
	cancel  context.CancelCauseFunc
	ended   chan struct{} // closed when it has; nil: it was never started

	restarts  int
	err       error
	nextStart time.Time
	finished  bool
}

// start runs the member in a goroutine. The lock is held.
func (m *member) start(r *run) {
	ctx, cancel := context.WithCancelCause(r.ctx)
	m.cancel, m.ended = cancel, make(chan struct{})
	m.err, m.nextStart, m.finished = nil, time.Time{}, false
	go func() {
		defer m.end()
		defer cancel(nil)
		m.live(ctx, r)
	}()
}

// hasEnded says that a member that was started runs no more. It is called without the lock, too.
func (m *member) hasEnded() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// end is its goroutine's last word.
func (m *member) end() {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	if m.removed {
		delete(m.fleet.members, strings.ToLower(m.id))
	}
	close(m.ended)
}

// live runs the identity again and again, until it has finished, ctx ends, or it has failed as
// often as the program allows.
func (m *member) live(ctx context.Context, r *run) {
	schedule := r.Retry.Start()
	for {
		began := time.Now()
		err := m.tenure(ctx, r)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			m.note(func() { m.finished = true })
			r.line(slog.LevelInfo, "identity has finished", m.id)
			return
		case errors.Is(err, errLeaseLost), errors.Is(err, errReadAgain): // which is nobody's fault
			continue
		}
		if time.Since(began) >= restedAfter {
			schedule.Reset()
		}
		wait, again := schedule.Next(err)
		m.note(func() {
			if m.err = err; again {
				m.nextStart = time.Now().Add(wait)
			}
		})
		cause := slog.String("cause", oneline.Of(err.Error(), causeMax))
		if !again {
			r.line(slog.LevelError, "identity has ended", m.id, cause)
			return
		}
		r.line(slog.LevelWarn, "identity is run again", m.id, cause,
			slog.Float64("wait", wait.Round(time.Second/10).Seconds()))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		m.note(func() { m.restarts, m.nextStart = m.restarts+1, time.Time{} })
	}
}

func (m *member) note(change func()) {
	m.fleet.mu.Lock()
	defer m.fleet.mu.Unlock()
	change()
}

// tenure runs the identity once, for as long as this process may.
func (m *member) tenure(ctx context.Context, r *run) error {
	held, again := tenancy(unleased{}), func() {}
	if r.leases != nil {
		var err error
		if held, err = r.leases.acquire(ctx, m.id); err != nil {
			return err
		}
		defer held.release()
		m.note(func() { m.device = nil }) // another process may have run it meanwhile
		var cancel context.CancelCauseFunc
		ctx, cancel = context.WithCancelCause(ctx)
		defer cancel(nil)
		stop := context.AfterFunc(held.lost(), func() { cancel(errLeaseLost) })
		defer stop()
		again = func() { cancel(errReadAgain) }
	}
	select {
	case r.places <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	booted := sync.OnceFunc(func() { <-r.places })
	defer booted()
	device, err := m.prepare(r, held, booted, again)
	if err != nil {
		return err
	}
	return device.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		return r.serve(ctx, m.id, hub)
	})
}

// prepare makes the device, if there is none, and lets it go through the turnstile.
func (m *member) prepare(
	r *run, held tenancy, booted, again func(),
) (device *provisioning.Device, err error) {
	m.note(func() { device = m.device })
	if device == nil {
		if device, err = r.make(m.id); err != nil {
			return nil, err
		}
		if device.Logger == nil {
			device.Logger = r.Logger
		}
		m.turns = &turnstile{own: device.Budget}
		device.Budget, device.Trace = m.turns, m.turns.watched(device.Trace)
		if r.leases != nil {
			device.Hub.DialContext = m.turns.gated(device)
		}
		m.note(func() { m.device = device })
	}
	m.turns.set(r.budget, held, booted, again)
	return device, nil
}

// make asks the program for a device.
func (r *run) make(id string) (device *provisioning.Device, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked("device", id, p)
		}
	}()
	device, err = r.Device(id)
	switch {
	case err != nil:
		return nil, &Error{Op: "device", IDs: []string{id}, Err: err}
	case device == nil || device.Attestation == nil:
		err = errors.New("there is none, or it has no attestation")
	case !strings.EqualFold(device.Attestation.RegistrationID(), id):
		err = fmt.Errorf("its registration id is %q", device.Attestation.RegistrationID())
	default:
		return device, nil
	}
	return nil, &Error{Op: "device", IDs: []string{id}, Err: err}
}

// serve calls the program's session.
func (r *run) serve(ctx context.Context, id string, hub *hubconn.Conn) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = r.panicked("session", id, p)
		}
	}()
	return r.Session(ctx, id, hub)
}

// panicked makes an error of what a function of the program has panicked with.
func (r *run) panicked(op, id string, with any) error {
	cause := oneline.Of(fmt.Sprint(with), causeMax)
	r.line(slog.LevelError, "function panicked", id, slog.String("op", op),
		slog.String("cause", cause), slog.String("stack", string(debug.Stack())))
	return &Error{Op: op, IDs: []string{id}, Err: errors.New("panic: " + cause)}
}

func (r *run) line(level slog.Level, message, id string, attrs ...slog.Attr) {
	attrs = append([]slog.Attr{slog.String("device", id)}, attrs...)
	r.log.LogAttrs(r.ctx, level, message, attrs...)
}
