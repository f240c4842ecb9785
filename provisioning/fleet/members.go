// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

// Add adds identities, by their registration IDs. While Run is under way, they are run at once. It
// fails, and adds none, where an ID is empty, or in the Fleet already in whatever letter case.
func (f *Fleet) Add(ids ...string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	added := make(map[string]*member, len(ids))
	for _, id := range ids {
		key := strings.ToLower(id)
		switch {
		case id == "":
			return invalid("", "an id is empty")
		case f.members[key] != nil, added[key] != nil:
			return invalid(id, "it is in the fleet already")
		}
		added[key] = &member{fleet: f, id: id}
	}
	if f.members == nil {
		f.members = make(map[string]*member, len(ids))
	}
	for _, id := range ids {
		key := strings.ToLower(id)
		f.added++
		m := added[key]
		m.number = f.added
		f.members[key] = m
		if f.run != nil && !f.run.ending {
			if f.run.seats != nil {
				f.run.seats.add(id)
			}
			m.start(f.run)
		}
	}
	return nil
}

// Remove ends an identity's session and connection and takes it out of the Fleet; what its store
// has stays. It returns when it has ended. The end of ctx, of which it returns the cause, does not
// bring it back: it goes on ending. A session that removes its own identity must do so with a ctx
// that ends, such as its own.
func (f *Fleet) Remove(ctx context.Context, id string) error {
	f.mu.Lock()
	m := f.members[strings.ToLower(id)]
	if m == nil {
		f.mu.Unlock()
		return invalid(id, "it is not in the fleet")
	}
	m.removed = true
	if f.run != nil && f.run.seats != nil {
		f.run.seats.remove(id)
	}
	if m.ended == nil || m.hasEnded() {
		delete(f.members, strings.ToLower(id))
		f.mu.Unlock()
		return nil
	}
	m.cancel(errRemoved)
	f.mu.Unlock()
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errRemoved is why the session of an identity ends that is removed.
var errRemoved = errors.New("fleet: the identity was removed")

// Get returns the device of an identity, such as to call its Reprovision, Renew or Remembered: nil
// if there is none, or it has not been made yet. An identity may get another one.
func (f *Fleet) Get(id string) *provisioning.Device {
	f.mu.Lock()
	defer f.mu.Unlock()
	if m := f.members[strings.ToLower(id)]; m != nil {
		return m.device
	}
	return nil
}

// Leased says which identities this process runs by its Leases, who else there is, and whether that
// can be told at present. It is zero without Leases, and while no Run is under way.
func (f *Fleet) Leased() lease.KeeperStatus {
	f.mu.Lock()
	r := f.run
	f.mu.Unlock()
	if r == nil || r.seats == nil {
		return lease.KeeperStatus{}
	}
	return r.seats.keeper.Status()
}

// Nudge tells all devices that the network may be back, as [provisioning.Device.Nudge] does.
func (f *Fleet) Nudge() {
	for _, m := range f.all() {
		if m.device != nil {
			m.device.Nudge()
		}
	}
}

// Status is that of an identity.
type Status struct {
	// Device is what its device is doing, and why. Before that has been made it is
	// [provisioning.StateStopped].
	Device provisioning.Status

	// Restarts is how often it has ended with an error and was run again.
	Restarts int

	// Err is why it ended last, nil if it has not. NextStart is when it is run again, zero if it is
	// running, or not to be.
	Err       error
	NextStart time.Time

	// Finished says that its session has returned nil.
	Finished bool
}

// Status returns the identities with their status, sorted by ID. Each is a copy of its moment;
// nobody is held up by a loop over it.
func (f *Fleet) Status() iter.Seq2[string, Status] {
	return func(yield func(string, Status) bool) {
		for _, m := range f.all() {
			if !yield(m.id, m.describe()) {
				return
			}
		}
	}
}

// Count says how many identities are in which state. Those in none are not in it.
func (f *Fleet) Count() map[provisioning.State]int {
	count := map[provisioning.State]int{}
	for _, s := range f.Status() {
		count[s.Device.State]++
	}
	return count
}

// all is a copy of the members, sorted by ID.
func (f *Fleet) all() []view {
	f.mu.Lock()
	all := make([]view, 0, len(f.members))
	for _, m := range f.members {
		all = append(all, view{m.id, m.device, Status{
			Restarts: m.restarts, Err: m.err, NextStart: m.nextStart, Finished: m.finished,
		}})
	}
	f.mu.Unlock()
	slices.SortFunc(all, func(a, b view) int { return strings.Compare(a.id, b.id) })
	return all
}

// view is a member at a moment.
type view struct {
	id     string
	device *provisioning.Device
	Status
}

// describe asks the device, too.
func (v *view) describe() Status {
	s := v.Status
	s.Device = provisioning.Status{State: provisioning.StateStopped}
	if v.device != nil {
		s.Device = v.device.Status()
	}
	if s.Device.RegistrationID == "" {
		s.Device.RegistrationID = v.id
	}
	return s
}
