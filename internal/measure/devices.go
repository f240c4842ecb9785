// SPDX-License-Identifier: Apache-2.0

package measure

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// settles is after how long nothing is counted on a connection that has ended.
const settles = 10 * time.Second

// Devices follows devices by what their Trace tells. It is safe for concurrent use. Its zero value
// is ready.
type Devices struct {
	// All yields the status of each device by its registration ID, as it is at the time; nil: of
	// those that Changed was told of, as it was then, until they have stopped.
	All iter.Seq2[string, provisioning.Status]

	mu     sync.Mutex
	byName map[Name]*device
	gone   Traffic // of those that are in byName no more
}

// Name is whose a number is.
type Name struct{ RegistrationID, ModuleID string }

// device is what is remembered of one.
type device struct {
	status provisioning.Status // as Changed was told it
	gap    time.Time           // since when it is not connected; zero: it is
	dialed bool                // by the library, and not by a client of the program's own
	conns  []*connection
	past   Traffic // of former connections
}

type connection struct {
	*hubconn.Conn
	ended bool // which was counted
}

// Traffic is what has happened on connections.
type Traffic struct {
	Sent, Acknowledged       uint64
	InFlight                 int
	BytesSent, BytesReceived int64
	Renewed, Swapped         uint64
	Ended                    map[string]uint64 // by what OfHub says of the end, "" if it was wanted
}

func (t *Traffic) add(s *hubconn.Stats) {
	t.Sent += s.Sent
	t.Acknowledged += s.Acknowledged
	t.InFlight += s.InFlight
	t.BytesSent += s.BytesSent
	t.BytesReceived += s.BytesReceived
	t.Renewed += s.Renewed
	t.Swapped += s.Swapped
}

// Add adds other traffic.
func (t *Traffic) Add(other *Traffic) {
	t.add(&hubconn.Stats{
		Sent: other.Sent, Acknowledged: other.Acknowledged, InFlight: other.InFlight,
		BytesSent: other.BytesSent, BytesReceived: other.BytesReceived,
		Renewed: other.Renewed, Swapped: other.Swapped,
	})
	for word, n := range other.Ended {
		t.end(word, n)
	}
}

func (t *Traffic) end(word string, n uint64) {
	if t.Ended == nil {
		t.Ended = map[string]uint64{}
	}
	t.Ended[word] += n
}

// Changed takes in a change of state. If the device is connected now and was not before, it returns
// for how long it was not.
func (d *Devices) Changed(s *provisioning.Status) (gap time.Duration, ended bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	name := Name{s.RegistrationID, s.ModuleID}
	of := d.of(name)
	connected := s.State == provisioning.StateConnected
	switch {
	case connected && !of.gap.IsZero():
		gap, ended = time.Since(of.gap), true
		of.gap = time.Time{}
	case !connected && of.gap.IsZero():
		of.gap = time.Now()
	}
	of.status = *s
	d.tidy(name, of)
	return gap, ended
}

// Attempt takes in the end of an attempt at a hub.
func (d *Devices) Attempt(a *provisioning.HubAttempt) {
	if a.Conn == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	of := d.of(Name{a.RegistrationID, a.ModuleID})
	of.dialed = true
	of.settle()
	of.conns = append(of.conns, &connection{Conn: a.Conn})
}

func (d *Devices) of(name Name) *device {
	if d.byName == nil {
		d.byName = map[Name]*device{}
	}
	of := d.byName[name]
	if of == nil {
		of = &device{}
		d.byName[name] = of
	}
	return of
}

// settle moves what has happened on former connections to past.
func (of *device) settle() {
	of.conns = slices.DeleteFunc(of.conns, func(c *connection) bool {
		s := c.Stats()
		if s.Ended.IsZero() {
			return false
		}
		if !c.ended {
			c.ended = true
			of.past.end(endOf(c.Conn), 1)
		}
		if time.Since(s.Ended) < settles {
			return false
		}
		s.InFlight = 0
		of.past.add(&s)
		return true
	})
}

// endOf is why a connection ended, "" if the program or the library closed it.
func endOf(c *hubconn.Conn) string {
	cause := context.Cause(c.Context())
	if _, failed := errors.AsType[*hubconn.Error](cause); !failed ||
		errors.Is(cause, hubconn.ErrClosed) || errors.Is(cause, provisioning.ErrReprovisioned) {
		return ""
	}
	return OfHub(cause)
}

// tidy forgets a device that has stopped, but for what was counted, and says whether it has.
func (d *Devices) tidy(name Name, of *device) bool {
	of.settle()
	if len(of.conns) > 0 || of.state() != provisioning.StateStopped {
		return false
	}
	d.gone.Add(&of.past)
	delete(d.byName, name)
	return true
}

// state is what the device is doing. Nobody tells of the end of a connection that Connect returned.
func (of *device) state() provisioning.State {
	live := func(c *connection) bool { return c.Context().Err() == nil }
	if of.status.State == provisioning.StateConnected && of.dialed &&
		!slices.ContainsFunc(of.conns, live) {
		return provisioning.StateStopped
	}
	return of.status.State
}

// Statuses yields the status of each device.
func (d *Devices) Statuses() iter.Seq2[Name, provisioning.Status] {
	return func(yield func(Name, provisioning.Status) bool) {
		if d.All == nil {
			for _, s := range d.told() {
				if !yield(Name{s.RegistrationID, s.ModuleID}, s) {
					return
				}
			}
			return
		}
		for id, s := range d.All {
			if !yield(Name{id, s.ModuleID}, s) {
				return
			}
		}
	}
}

// told are the statuses as Changed was told them.
func (d *Devices) told() (all []provisioning.Status) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, of := range d.byName {
		s := of.status
		s.RegistrationID, s.ModuleID, s.State = name.RegistrationID, name.ModuleID, of.state()
		if s.State == provisioning.StateConnected {
			s.DownSince = time.Time{} // that it has become stable is no change of state
		}
		all = append(all, s)
	}
	return all
}

// Traffic returns what has happened on the connections of all devices.
func (d *Devices) Traffic() (all Traffic) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, of := range d.byName {
		if d.tidy(name, of) {
			continue
		}
		of.sum(&all)
	}
	all.Add(&d.gone)
	return all
}

// EachTraffic returns what has happened on the connections of each device. Under the empty Name is
// that of those which have stopped.
func (d *Devices) EachTraffic() map[Name]Traffic {
	d.mu.Lock()
	defer d.mu.Unlock()
	each := map[Name]Traffic{}
	for name, of := range d.byName {
		if d.tidy(name, of) {
			continue
		}
		var t Traffic
		of.sum(&t)
		each[name] = t
	}
	var gone Traffic
	gone.Add(&d.gone)
	each[Name{}] = gone
	return each
}

// sum adds what has happened on the connections of one.
func (of *device) sum(t *Traffic) {
	t.Add(&of.past)
	for _, c := range of.conns {
		s := c.Stats()
		t.add(&s)
	}
}

// Hub is the host of the hub that a device was at, or was to try, at its last change of state; ""
// if it had none.
func (d *Devices) Hub(registrationID string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if of := d.byName[Name{RegistrationID: registrationID}]; of != nil {
		return of.status.Hub.Host
	}
	return ""
}
