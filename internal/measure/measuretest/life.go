// SPDX-License-Identifier: Apache-2.0

package measuretest

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// MessagesEach is how many messages each session sends.
const MessagesEach = 3

// A Life is one device between the simulators, in virtual time: call its methods in a bubble of
// testing/synctest, in their order.
type Life struct {
	*devicetest.Simulation

	// Calls counts the calls of the hooks of the program's own Trace, by hook.
	Calls map[string]int

	full atomic.Bool
	stop context.CancelFunc
	done chan error
}

// Start makes the device, whose Trace is what trace makes of the program's own, and starts it. DPS
// throttles its first request.
func Start(
	t interface{ Cleanup(func()) }, trace func(*provisioning.Trace) *provisioning.Trace,
) *Life {
	l := &Life{Simulation: devicetest.Start(t), Calls: map[string]int{}, done: make(chan error, 1)}
	l.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "60"})
	l.Device.Store = &store{Store: l.Device.Store, full: &l.full}
	l.Device.Trace = trace(&provisioning.Trace{
		Changed:     func(provisioning.Status) { l.Calls["changed"]++ },
		Request:     func(provisioning.DPSRequest) { l.Calls["request"]++ },
		Response:    func(provisioning.DPSResponse) { l.Calls["response"]++ },
		Attempt:     func(provisioning.HubAttempt) { l.Calls["attempt"]++ },
		Assigned:    func(dps.Assignment, bool) { l.Calls["assigned"]++ },
		StoreFailed: func(provisioning.StoreFailure) { l.Calls["store failed"]++ },
	})
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	go func() { l.done <- l.Device.Run(ctx, session) }()
	return l
}

func session(ctx context.Context, hub *hubconn.Conn) error {
	for range MessagesEach {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte("hello")}); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// FirstBoot waits until the device is stably connected: throttled, registered, connected.
func (l *Life) FirstBoot() error { return l.connectedAt(l.Hub, 5*time.Minute) }

// HubAway cuts the connection, and has the hub say twice that it is unavailable.
func (l *Life) HubAway() error {
	l.Hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: 2})
	l.Network.Cut(devicetest.HubHost)
	return l.connectedAt(l.Hub, 5*time.Minute)
}

// Move moves the device to the other hub, which it cannot store.
func (l *Life) Move() error {
	l.full.Store(true)
	defer l.full.Store(false)
	if err := l.DPS.MoveNow(devicetest.DeviceID, devicetest.OtherHubHost); err != nil {
		return err
	}
	return l.connectedAt(l.OtherHub, 5*time.Minute)
}

// End ends the program, and waits for it.
func (l *Life) End() {
	l.stop()
	<-l.done
	time.Sleep(time.Minute) // until the connection is history
}

// connectedAt lets time pass, and looks whether the device is where it should be.
func (l *Life) connectedAt(hub *hubtest.Hub, after time.Duration) error {
	time.Sleep(after)
	if !hub.Connected(devicetest.DeviceID) {
		return fmt.Errorf("the device is not at %s, but %+v", hub.Host(), l.Device.Status())
	}
	return nil
}

// store is one that can be full.
type store struct {
	cache.Store
	full *atomic.Bool
}

var errFull = errors.New("no space left")

func (s *store) Put(ctx context.Context, key string, data []byte) error {
	if s.full.Load() {
		return errFull
	}
	return s.Store.Put(ctx, key, data)
}
