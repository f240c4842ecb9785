package main

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// narrator writes one line for each thing that happens, when it happens. It is safe for concurrent
// use.
type narrator struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func newNarrator(out io.Writer) *narrator { return &narrator{out: out, start: time.Now()} }

// plain writes a line that belongs to no moment.
func (n *narrator) plain(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, format+"\n", args...)
}

// line writes who did what, and when: in seconds since the start.
func (n *narrator) line(who, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(
		n.out, "%8.3f s  %-9s %s\n", time.Since(n.start).Seconds(), who,
		fmt.Sprintf(format, args...),
	)
}

// trace tells what the device does, as the device itself reports it.
func (n *narrator) trace() *provisioning.Trace {
	return &provisioning.Trace{
		Request: func(r provisioning.DPSRequest) {
			question := map[string]string{
				"register": "asks DPS to register it",
				"poll":     "asks DPS how the registration goes on",
				"lookup":   "asks DPS where it belongs (status lookup)",
				"time":     "asks DPS for the time, in case its clock made a bad token",
			}[r.Kind]
			n.line("device", "%s: %s", question, r.Reason)
		},
		Assigned: func(a dps.Assignment, _ bool) {
			n.line("DPS", "it belongs to %s (%s)", short(a.Hub), a.Substatus)
		},
		StoreFailed: func(err error) { n.line("device", "cannot use its store: %v", err) },
		Changed: func(s provisioning.Status) {
			switch s.State {
			case provisioning.StateConnecting:
				n.line(
					"device", "connects to %s, known from %s", short(s.Hub.Host), origin(s.Source),
				)
			case provisioning.StateWaiting:
				n.line(
					"device", "waits %.3f s before it tries %s again: %s",
					time.Until(s.NextHub).Seconds(), short(s.Hub.Host), reason(s.Err),
				)
			}
		},
	}
}

func origin(s provisioning.Source) string {
	switch s {
	case provisioning.SourceStore:
		return "its store"
	case provisioning.SourceLookup:
		return "the lookup"
	}
	return "the registration"
}

// reason says in a few words why a hub was not reached.
func reason(err error) string {
	failure, ok := errors.AsType[*hubconn.Error](err)
	switch {
	case err == nil:
		return ""
	case !ok:
		return err.Error()
	case failure.ReturnCode != 0:
		return fmt.Sprintf("the hub answered CONNACK %d (%v)", failure.ReturnCode, failure.Class)
	case failure.Status != 0:
		return fmt.Sprintf("the hub answered HTTP %d (%v)", failure.Status, failure.Class)
	}
	return fmt.Sprintf("the connection is gone (%v)", failure.Class)
}
