// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/rehome-iot/rehome/provisioning"
)

// leases say which process runs an identity, where several share a fleet.
type leases interface {
	// acquire waits until this process is to run an identity. Its error is run again as any other.
	acquire(ctx context.Context, id string) (tenancy, error)
}

// tenancy is the right to run an identity. A connection that is up may stay for as long as it is
// not lost; a new one is made, and DPS asked, only while it is held.
type tenancy interface {
	// held is nil while it is held for certain; else it is closed when to ask again.
	held() <-chan struct{}

	// lost is done when another process may run the identity.
	lost() context.Context

	// release gives it back, when the device has ended.
	release()
}

// unleased is the lease of whoever is alone.
type unleased struct{}

func (unleased) held() <-chan struct{} { return nil }
func (unleased) lost() context.Context { return context.Background() }
func (unleased) release()              {}

var (
	errLeaseLost = errors.New("fleet: another process runs the identity")
	errNotHeld   = errors.New("fleet: no connection is opened: the identity's lease is not held")
	// errReadAgain is that of a device that could not read its store while its lease was not
	// confirmed, and would ask DPS now: what was away then is back, and the store is, too.
	errReadAgain = errors.New("fleet: the store is read again")
)

// turnstile is between a device and the Budget.
type turnstile struct {
	mu     sync.Mutex
	own    provisioning.Budget // the program has given the device one
	budget provisioning.Budget
	lease  tenancy
	booted func()
	again  func()  // has the identity be run again, with another device
	stored storing // what is known of the device's store
}

// storing is how a device's boot from its store has gone.
type storing int

const (
	reading storing = iota
	read
	readFailed
)

// set says what holds from now on. The device is not driven meanwhile.
func (t *turnstile) set(shared provisioning.Budget, l tenancy, booted, again func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.budget, t.lease, t.booted, t.again, t.stored = shared, l, booted, again, reading
	if t.own != nil {
		t.budget = t.own
	}
}

func (t *turnstile) current() (provisioning.Budget, tenancy, func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.budget, t.lease, t.booted
}

// Enter implements [provisioning.Budget].
func (t *turnstile) Enter(e provisioning.Entrant) *provisioning.Turn {
	budget, l, _ := t.current()
	if l.held() == nil {
		return budget.Enter(e)
	}
	// Until the lease is held, and its turn has come, a goroutine waits in the device's place.
	ready, turn := make(chan struct{}), newTurn()
	if e.IDScope != "" {
		turn.again = t.unread()
	}
	go turn.await(l, budget, e, ready)
	return &provisioning.Turn{Ready: ready, Done: turn.done}
}

// unread is what runs the identity again if the device could not read its store; else nil.
func (t *turnstile) unread() func() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored != readFailed {
		return nil
	}
	return t.again
}

// heldUp is a turn that begins when a lease is held.
type heldUp struct {
	gone  chan struct{} // closed when it was given up
	again func()        // called instead, if not nil

	mu    sync.Mutex
	inner *provisioning.Turn // once it has begun
	over  bool
}

func newTurn() *heldUp { return &heldUp{gone: make(chan struct{})} }

func (h *heldUp) await(
	l tenancy, budget provisioning.Budget, e provisioning.Entrant, ready chan struct{},
) {
	for wait := l.held(); wait != nil; wait = l.held() {
		select {
		case <-wait:
		case <-h.gone:
			return
		}
	}
	if h.again != nil {
		h.again()
		return
	}
	inner := budget.Enter(e)
	h.mu.Lock()
	h.inner = inner
	over := h.over
	h.mu.Unlock()
	if over {
		inner.Done(context.Canceled)
		return
	}
	if inner.Ready != nil {
		select {
		case <-inner.Ready:
		case <-h.gone:
			return
		}
	}
	close(ready)
}

func (h *heldUp) done(err error) {
	h.mu.Lock()
	over, inner := h.over, h.inner
	h.over = true
	h.mu.Unlock()
	if over {
		return
	}
	close(h.gone)
	if inner != nil {
		inner.Done(err)
	}
}

// noteStore notes how the boot has gone: what comes later is not about it.
func (t *turnstile) noteStore(outcome storing) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stored == reading {
		t.stored = outcome
	}
}

// watched is the device's Trace, which tells besides when it has booted: its first state is known.
func (t *turnstile) watched(trace *provisioning.Trace) *provisioning.Trace {
	var watched provisioning.Trace
	if trace != nil {
		watched = *trace
	}
	changed, failed := watched.Changed, watched.StoreFailed
	watched.Changed = func(s provisioning.Status) {
		t.noteStore(read)
		_, _, booted := t.current()
		booted()
		if changed != nil {
			changed(s)
		}
	}
	watched.StoreFailed = func(f provisioning.StoreFailure) {
		t.noteStore(readFailed)
		if failed != nil {
			failed(f)
		}
	}
	return &watched
}

// gated has a device open no connection without its lease: also none that renews one that is up,
// for which no turn is taken.
func (t *turnstile) gated(
	device *provisioning.Device,
) func(ctx context.Context, network, address string) (net.Conn, error) {
	dial := device.Hub.DialContext
	if dial == nil {
		dial = device.DialContext
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, l, _ := t.current(); l.held() != nil {
			return nil, errNotHeld
		}
		return dial(ctx, network, address)
	}
}
