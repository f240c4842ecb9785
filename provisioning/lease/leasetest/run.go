// SPDX-License-Identifier: Apache-2.0

package leasetest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

// Join starts a replica of a group. It returns nil for a second one if there can be no more than
// one, as with lease.Local.
type Join func(name string) lease.Leases

// patience is for what has to happen, however slow the machine and the service are.
const patience = time.Minute

// Run runs the conformance suite as subtests of t. It calls newGroup once for each and expects a
// group of its own, without replicas. A replica that has a Close(context.Context) error is closed
// by some tests; whoever joined it closes it again, or for the first time, in the end. Run the
// tests with -race. Of an implementation with one replica the subtests of several are skipped.
func Run(t *testing.T, newGroup func(t *testing.T) Join) {
	t.Helper()
	for _, test := range alone {
		t.Run(test.name, func(t *testing.T) { test.run(t, newGroup(t)("a")) })
	}
	for _, test := range together {
		t.Run(test.name, func(t *testing.T) {
			join := newGroup(t)
			a := join("a")
			b := join("b")
			if b == nil {
				t.Skip("there is one replica")
			}
			for _, r := range []lease.Leases{a, b} {
				membersBecome(t, r, a.Name(), b.Name())
			}
			test.run(t, a, b)
		})
	}
}

var alone = []struct {
	name string
	run  func(t *testing.T, a lease.Leases)
}{
	{"a replica is one of the members it sees", seesItself},
	{"a lease acquired is held until released", heldUntilReleased},
	{"a lease held is not acquired again", notAcquiredTwice},
	{"identities are told apart byte for byte", toldApart},
	{"a lease outlasts the context it was acquired with", outlastsContext},
	{"a context that has ended acquires nothing", endedContext},
	{"a release is told", releaseIsTold},
	{"releasing twice is no error", releasingTwice},
}

var together = []struct {
	name string
	run  func(t *testing.T, a, b lease.Leases)
}{
	{"another replica's lease is refused, with its name", refusedWithName},
	{"a released lease is told and another's at once", releasedIsAnothers},
	{"a fence is greater than all before", fencesGrow},
	{"of many who acquire at once one succeeds", oneSucceeds},
	{"what a closed replica held is another's", closedReplica},
}

func seesItself(t *testing.T, a lease.Leases) {
	if a.Name() == "" {
		t.Error("a replica without a name")
	}
	membersBecome(t, a, a.Name())
	ctx, cancel := context.WithCancel(t.Context())
	for range a.Watch(ctx) {
		cancel() // has to end the loop
	}
	cancel()
}

func heldUntilReleased(t *testing.T, a lease.Leases) {
	l := acquire(t, a, "sensor-1")
	if l.Identity() != "sensor-1" {
		t.Errorf("Identity = %q; want sensor-1", l.Identity())
	}
	if l.Fence() == 0 {
		t.Error("Fence = 0")
	}
	if err := l.Held(); err != nil {
		t.Errorf("Held of a new lease: %v", err)
	}
	if err := l.Context().Err(); err != nil {
		t.Errorf("Context of a new lease has ended: %v", err)
	}
	release(t, l)
	if err := l.Held(); !errors.Is(err, lease.ErrReleased) {
		t.Errorf("Held of a released lease: %v; want ErrReleased", err)
	}
	if err := context.Cause(l.Context()); !errors.Is(err, lease.ErrReleased) {
		t.Errorf("cause of a released lease's Context: %v; want ErrReleased", err)
	}
	again := acquire(t, a, "sensor-1")
	if err := again.Held(); err != nil {
		t.Errorf("Held of a lease acquired again: %v", err)
	}
	release(t, l) // is not the later one
	if err := again.Held(); err != nil {
		t.Errorf("Held after another release of the earlier lease: %v", err)
	}
}

func notAcquiredTwice(t *testing.T, a lease.Leases) {
	first := acquire(t, a, "sensor-1")
	refused(t, a, "sensor-1", a.Name())
	if err := first.Held(); err != nil {
		t.Errorf("Held after another try: %v", err)
	}
}

// Identities are chosen for what a service might do to its keys.
var identities = []string{
	"", " ", ".", "..", "/", "a", "A", "a.", ".a", "a.b", "a/b", "a*", "*", ">", "a>", "a b",
	"a=", "a=2e", "a%2e", "a\x00b", "a\nb", "\xff\xfe", "é", "e\u0301", "鍵",
	strings.Repeat("k", 128), strings.Repeat("k", 3000), strings.Repeat("k", 3001),
}

func toldApart(t *testing.T, a lease.Leases) {
	leases := make([]lease.Lease, len(identities))
	for i, identity := range identities {
		leases[i] = acquire(t, a, identity)
		if got := leases[i].Identity(); got != identity {
			t.Errorf("Identity = %.40q; want %.40q", got, identity)
		}
	}
	for i, l := range leases {
		release(t, l)
		for j := i + 1; j < len(leases); j++ {
			if err := leases[j].Held(); err != nil {
				t.Fatalf("Held of %.40q once %.40q is released: %v", leases[j].Identity(),
					identities[i], err)
			}
		}
	}
}

func outlastsContext(t *testing.T, a lease.Leases) {
	ctx, cancel := context.WithCancel(t.Context())
	l, err := a.Acquire(ctx, "sensor-1")
	if err != nil {
		t.Fatalf("Acquire: %v", err)
	}
	cancel()
	if err := l.Context().Err(); err != nil {
		t.Errorf("Context ends with that of Acquire: %v", err)
	}
	if err := l.Held(); err != nil {
		t.Errorf("Held once the context of Acquire has ended: %v", err)
	}
}

func endedContext(t *testing.T, a lease.Leases) {
	cause := errors.New("the cause given to the context")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if _, err := a.Acquire(ctx, "sensor-1"); !errors.Is(err, cause) {
		t.Errorf("Acquire with an ended context: %v; want its cause", err)
	}
	for range a.Watch(ctx) {
		t.Error("Watch with an ended context yields something")
		break
	}
	acquire(t, a, "sensor-1")
}

func releaseIsTold(t *testing.T, a lease.Leases) {
	l := acquire(t, a, "sensor-1")
	freed := watchFreed(t, a, "sensor-1")
	release(t, l)
	freed()
}

func releasingTwice(t *testing.T, a lease.Leases) {
	l := acquire(t, a, "sensor-1")
	release(t, l)
	release(t, l)
}

func refusedWithName(t *testing.T, a, b lease.Leases) {
	l := acquire(t, a, "sensor-1")
	refused(t, b, "sensor-1", a.Name())
	if err := l.Held(); err != nil {
		t.Errorf("Held after another replica's try: %v", err)
	}
	acquire(t, b, "sensor-2")
	refused(t, a, "sensor-2", b.Name())
}

func releasedIsAnothers(t *testing.T, a, b lease.Leases) {
	l := acquire(t, a, "sensor-1")
	refused(t, b, "sensor-1", a.Name())
	freed := watchFreed(t, b, "sensor-1")
	release(t, l)
	freed()
	acquire(t, b, "sensor-1")
	refused(t, a, "sensor-1", b.Name())
}

func fencesGrow(t *testing.T, a, b lease.Leases) {
	last := uint64(0)
	for range 5 {
		for _, r := range []lease.Leases{a, b} {
			other := acquire(t, r, "sensor-2") // of another identity: it may come between
			l := acquire(t, r, "sensor-1")
			if l.Fence() <= last {
				t.Errorf("Fence = %d after one of %d", l.Fence(), last)
			}
			last = l.Fence()
			release(t, l)
			release(t, other)
		}
	}
}

func oneSucceeds(t *testing.T, a, b lease.Leases) {
	for _, identity := range []string{"sensor-1", "sensor-2", "sensor-3"} {
		var mu sync.Mutex
		var won []lease.Lease
		var all sync.WaitGroup
		for i := range 16 {
			r := []lease.Leases{a, b}[i%2]
			all.Go(func() {
				l, err := r.Acquire(t.Context(), identity)
				if err != nil {
					if _, ok := errors.AsType[*lease.HeldError](err); !ok {
						t.Errorf("Acquire beside others: %v; want a HeldError", err)
					}
					return
				}
				mu.Lock()
				defer mu.Unlock()
				won = append(won, l)
			})
		}
		all.Wait()
		if len(won) != 1 {
			t.Fatalf("%d of 16 hold the lease; want 1", len(won))
		}
		if err := won[0].Held(); err != nil {
			t.Errorf("Held of the one that succeeded: %v", err)
		}
	}
}

func closedReplica(t *testing.T, a, b lease.Leases) {
	closer, ok := a.(interface{ Close(context.Context) error })
	if !ok {
		t.Skip("a replica has no Close")
	}
	l := acquire(t, a, "sensor-1")
	if err := closer.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	if l.Context().Err() == nil || l.Held() == nil {
		t.Error("a lease of a closed replica is held")
	}
	if _, err := a.Acquire(t.Context(), "sensor-2"); err == nil {
		t.Error("a closed replica acquires a lease")
	}
	membersBecome(t, b, b.Name())
	next := acquire(t, b, "sensor-1")
	if next.Fence() <= l.Fence() {
		t.Errorf("Fence = %d after one of %d", next.Fence(), l.Fence())
	}
}

func acquire(t *testing.T, a lease.Leases, identity string) lease.Lease {
	t.Helper()
	l, err := a.Acquire(t.Context(), identity)
	if err != nil {
		t.Fatalf("Acquire(%.40q): %v", identity, err)
	}
	return l
}

func refused(t *testing.T, a lease.Leases, identity, holder string) {
	t.Helper()
	_, err := a.Acquire(t.Context(), identity)
	held, ok := errors.AsType[*lease.HeldError](err)
	if !ok {
		t.Errorf("Acquire(%.40q): %v; want a HeldError", identity, err)
	} else if held.Identity != identity || held.Holder != holder {
		t.Errorf("HeldError of %.40q by %q; want %.40q by %q",
			held.Identity, held.Holder, identity, holder)
	}
}

func release(t *testing.T, l lease.Lease) {
	t.Helper()
	if err := l.Release(t.Context()); err != nil {
		t.Errorf("Release of %.40q: %v", l.Identity(), err)
	}
}

// membersBecome waits until a tells of these members.
func membersBecome(t *testing.T, a lease.Leases, want ...string) {
	t.Helper()
	slices.Sort(want)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var last []string
	for change, err := range a.Watch(ctx) {
		if err == nil {
			if last = change.Members; slices.Equal(last, want) {
				return
			}
		}
	}
	t.Fatalf("members of %s are %q; want %q", a.Name(), last, want)
}

// watchFreed watches for the release of identity from before it returns; the function that it
// returns waits for it.
func watchFreed(t *testing.T, a lease.Leases, identity string) (wait func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	began, told := make(chan struct{}), make(chan bool, 1)
	go func() {
		defer cancel()
		first := true
		for change, err := range a.Watch(ctx) {
			if first {
				close(began)
				first = false
			}
			if err == nil && slices.Contains(change.Freed, identity) {
				told <- true
				return
			}
		}
		told <- false
	}()
	<-began
	return func() {
		t.Helper()
		if !<-told {
			t.Fatalf("%s is not told that the lease of %q was released", a.Name(), identity)
		}
	}
}
