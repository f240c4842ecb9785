package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

const telemetryInterval = time.Second

// boot is the device from power on to power off: a program of its own, that has nothing but the
// store from the one before.
type boot struct {
	dev      *provisioning.Device
	tell     *narrator
	arrivals chan arrival
	endings  chan ending
	sent     atomic.Int64 // messages that a hub has acknowledged

	ctx    context.Context
	cancel context.CancelCauseFunc
	done   chan error
}

// arrival is the first message acknowledged on a connection: from then on the device is of use.
type arrival struct {
	hub    string
	source provisioning.Source
	at     time.Time
}

// ending is the end of a session.
type ending struct {
	hub   string
	cause error
	at    time.Time
}

var errPowerOff = errors.New("power off")

func powerOn(ctx context.Context, dev *provisioning.Device, tell *narrator) *boot {
	ctx, cancel := context.WithCancelCause(ctx)
	b := &boot{
		dev: dev, tell: tell, ctx: ctx, cancel: cancel,
		arrivals: make(chan arrival, 16), endings: make(chan ending, 16), done: make(chan error, 1),
	}
	dev.Trace = tell.trace()
	go func() { b.done <- dev.Run(ctx, b.session) }()
	return b
}

// session is the program's work on a connection. It sends something every second until the
// connection ends.
func (b *boot) session(ctx context.Context, hub *hubconn.Conn) error {
	host, arrived := hub.Hub().Host, false
	for {
		body := fmt.Appendf(nil, `{"temperature":%.1f}`, 20+float64(b.sent.Load()%10)/10)
		if err := hub.Send(
			ctx, hubconn.Message{Body: body, ContentType: "application/json"},
		); err == nil {
			b.sent.Add(1)
			if !arrived {
				arrived = true
				b.tell.line(
					short(host), "has accepted the device and acknowledged its first message",
				)
				b.arrivals <- arrival{hub: host, source: b.dev.Status().Source, at: time.Now()}
			}
		}
		select {
		case <-time.After(telemetryInterval):
		case <-ctx.Done():
			b.endings <- ending{hub: host, cause: context.Cause(ctx), at: time.Now()}
			return context.Cause(ctx)
		}
	}
}

// arrival waits until the device is connected, for the first time or once more.
func (b *boot) arrival(ctx context.Context) (arrival, error) {
	return next(ctx, b, b.arrivals, "a connection")
}

// ending waits until a session has ended.
func (b *boot) ending(ctx context.Context) (ending, error) {
	return next(ctx, b, b.endings, "the end of the session")
}

func next[T any](ctx context.Context, b *boot, from <-chan T, what string) (T, error) {
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

// powerOff ends the program and waits for it.
func (b *boot) powerOff() error {
	b.cancel(errPowerOff)
	if err := <-b.done; !errors.Is(err, context.Cause(b.ctx)) {
		return fmt.Errorf("the device ended with: %w", err)
	}
	return nil
}
