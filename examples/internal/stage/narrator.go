// SPDX-License-Identifier: Apache-2.0

package stage

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

// Narrator writes one line for each thing that happens, when it happens. It is safe for concurrent
// use.
type Narrator struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

// NewNarrator begins to count the time.
func NewNarrator(out io.Writer) *Narrator { return &Narrator{out: out, start: time.Now()} }

// Plain writes a line that belongs to no moment.
func (n *Narrator) Plain(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(n.out, format+"\n", args...)
}

// Line writes who did what, and when: in seconds since the start.
func (n *Narrator) Line(who, format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	fmt.Fprintf(
		n.out, "%8.3f s  %-9s %s\n", time.Since(n.start).Seconds(), who,
		fmt.Sprintf(format, args...),
	)
}

// trace tells what the device does, as the device itself reports it.
func (n *Narrator) trace() *provisioning.Trace {
	var certificate time.Time // until when the newest is valid
	return &provisioning.Trace{
		Request: func(r provisioning.DPSRequest) {
			question := map[string]string{
				"register": "asks DPS to register it",
				"poll":     "asks DPS how the registration goes on",
				"lookup":   "asks DPS where it belongs (status lookup)",
				"time":     "asks DPS for the time, in case its clock made a bad token",
			}[r.Kind]
			n.Line("device", "%s: %s", question, r.Reason)
		},
		Assigned: func(a dps.Assignment, _ bool) {
			n.Line("DPS", "it belongs to %s (%s)", Short(a.Hub), a.Substatus)
		},
		StoreFailed: func(f provisioning.StoreFailure) {
			n.Line("device", "cannot use its store: %v", f.Err)
		},
		Changed: func(s provisioning.Status) {
			if until := s.Certificate.ValidUntil; !until.IsZero() && !until.Equal(certificate) {
				certificate = until
				n.Line("device", "holds a certificate that is valid until %s", until.UTC().Format(
					time.DateTime,
				))
			}
			switch s.State {
			case provisioning.StateConnecting:
				n.Line(
					"device", "connects to %s, known from %s", Short(s.Hub.Host), origin(s.Source),
				)
			case provisioning.StateWaiting:
				n.Line(
					"device", "waits %.3f s before it tries %s again: %s",
					time.Until(s.NextHub).Seconds(), Short(s.Hub.Host), reason(s.Err),
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
