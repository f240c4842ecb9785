// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

const telemetryInterval = time.Second

// Boot is the device from power on to power off: a program of its own, that has nothing but the
// store from the one before.
type Boot struct {
	Dev *provisioning.Device

	tell     *Narrator
	also     func(context.Context, *provisioning.Device, *hubconn.Conn)
	arrivals chan Arrival
	endings  chan Ending
	sent     atomic.Int64 // messages that a hub has acknowledged

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan error
}

// Arrival is the first message acknowledged on a connection: from then on the device is of use.
type Arrival struct {
	Hub        string
	Source     provisioning.Source
	Credential provisioning.CredentialKind
	At         time.Time
}

// Ending is the end of a session.
type Ending struct {
	Hub   string
	Cause error
	At    time.Time
}

var errPowerOff = errors.New("power off")

func powerOn(
	ctx context.Context, dev *provisioning.Device, tell *Narrator,
	also func(context.Context, *provisioning.Device, *hubconn.Conn),
) *Boot {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &Boot{
		Dev: dev, tell: tell, also: also, ctx: ctx, cancel: cancel,
		arrivals: make(chan Arrival, 16), endings: make(chan Ending, 16), done: make(chan error, 1),
	}
	dev.Trace = tell.trace()
	go func() { b.done <- dev.Run(ctx, b.session) }()
	return b
}

// session is the program's work on a connection. It sends something every second until the
// connection ends.
func (b *Boot) session(ctx context.Context, hub *hubconn.Conn) error {
	var running sync.WaitGroup
	defer running.Wait()
	if b.also != nil {
		running.Go(func() { b.also(ctx, b.Dev, hub) })
	}
	host, arrived := hub.Hub().Host, false
	for {
		body := fmt.Appendf(nil, `{"temperature":%.1f}`, 20+float64(b.sent.Load()%10)/10)
		if err := hub.Send(
			ctx, hubconn.Message{Body: body, ContentType: "application/json"},
		); err == nil {
			b.sent.Add(1)
			if !arrived {
				arrived = true
				b.tell.Line(
					Short(host), "has accepted the device and acknowledged its first message",
				)
				status := b.Dev.Status()
				b.arrivals <- Arrival{
					Hub: host, Source: status.Source, Credential: status.Credential, At: time.Now(),
				}
			}
		}
		select {
		case <-time.After(telemetryInterval):
		case <-ctx.Done():
			b.endings <- Ending{Hub: host, Cause: context.Cause(ctx), At: time.Now()}
			return context.Cause(ctx)
		}
	}
}

// Arrival waits until the device is connected, for the first time or once more.
func (b *Boot) Arrival(ctx context.Context) (Arrival, error) {
	return next(ctx, b, b.arrivals, "a connection")
}

// Ending waits until a session has ended.
func (b *Boot) Ending(ctx context.Context) (Ending, error) {
	return next(ctx, b, b.endings, "the end of the session")
}

// Ended says that a session has ended that nobody has waited for.
func (b *Boot) Ended() bool { return len(b.endings) > 0 }

func next[T any](ctx context.Context, b *Boot, from <-chan T, what string) (T, error) {
	var none T
	select {
	case v := <-from:
		return v, nil
	case err := <-b.done:
		b.done <- err
		return none, fmt.Errorf("the device ended before %s: %w", what, err)
	case <-ctx.Done():
		return none, fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
	}
}

// PowerOff ends the program and waits for it. A device that is off stays so.
func (b *Boot) PowerOff() error {
	b.cancel(errPowerOff)
	err := <-b.done
	b.done <- err
	if !errors.Is(err, context.Cause(b.ctx)) {
		return fmt.Errorf("the device ended with: %w", err)
	}
	return nil
}
