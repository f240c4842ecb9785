// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
	"github.com/rehome-iot/rehome/cache/natskv/natslease"
	"github.com/rehome-iot/rehome/provisioning/lease"
)

const term = 3 * time.Second

// patience is for what has to happen, however slow the machine is; often is how often it is looked
// whether it has.
var (
	patience = ofThousands(2*time.Minute, 10*time.Minute)
	often    = ofThousands(20*time.Millisecond, 200*time.Millisecond)
)

// A place is a replica with a way to NATS of its own.
type place struct {
	*natslease.Replica
	link *natstest.Link
	conn *nats.Conn
}

func join(t *testing.T, servers *natstest.Servers, name string) place {
	t.Helper()
	p := place{link: new(natstest.Link)}
	p.conn = servers.Connect(0, nats.SetCustomDialer(p.link))
	var err error
	p.Replica, err = natslease.Join(t.Context(), natslease.Config{
		Conn: p.conn, Name: name, Duration: term,
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

func acquire(t *testing.T, p place, identity string) lease.Lease {
	t.Helper()
	l, err := p.Acquire(t.Context(), identity)
	require.NoError(t, err)
	return l
}

// until waits for a condition.
func until(t *testing.T, condition func() bool, what string) {
	t.Helper()
	require.Eventually(t, condition, patience, often, what)
}

// sees waits until p tells of these members.
func (p place) sees(t *testing.T, want ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for change, err := range p.Watch(ctx) {
		if err == nil && slices.Equal(change.Members, want) {
			return
		}
	}
	t.Fatalf("%s does not see %q", p.Name(), want)
}

// awayTold waits until p tells that it cannot tell.
func (p place) awayTold(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, err := range p.Watch(ctx) {
		if errors.Is(err, lease.ErrUnconfirmed) {
			return
		}
	}
	t.Fatalf("%s does not tell that NATS is away", p.Name())
}

func lost(l lease.Lease, to string) bool {
	held, ok := errors.AsType[*lease.HeldError](context.Cause(l.Context()))
	return ok && held.Holder == to
}

func TestAReplicaCutOffLosesToTheOthersWhatTheyTake(t *testing.T) {
	t.Parallel()
	t.Run("its link ends", func(t *testing.T) {
		t.Parallel()
		losesWhatOthersTake(t, (*natstest.Link).Cut)
	})
	t.Run("its link falls silent", func(t *testing.T) {
		t.Parallel()
		losesWhatOthersTake(t, (*natstest.Link).Silence)
	})
}

func losesWhatOthersTake(t *testing.T, cut func(l *natstest.Link, off bool)) {
	t.Helper()
	servers := natstest.Start(t, 1)
	a, b := join(t, servers, "a"), join(t, servers, "b")
	taken, left := acquire(t, b, "taken"), acquire(t, b, "left")
	own := acquire(t, a, "own")
	a.sees(t, "a", "b")
	began := time.Now()
	cut(b.link, true)
	_, err := a.Acquire(t.Context(), "taken")
	_, held := errors.AsType[*lease.HeldError](err)
	require.True(t, held || time.Since(began) > term, "%v", err)

	a.sees(t, "a")
	assert.GreaterOrEqual(t, time.Since(began), term/2, "it was given its time")
	assert.ErrorIs(t, taken.Held(), lease.ErrUnconfirmed, "before others may take it")
	theirs := acquire(t, a, "taken")
	assert.Greater(t, theirs.Fence(), taken.Fence())
	assert.NoError(t, taken.Context().Err(), "it cannot know")
	b.awayTold(t)
	_, err = b.Acquire(t.Context(), "new")
	assert.ErrorIs(t, err, lease.ErrUnconfirmed)

	fence := left.Fence()
	cut(b.link, false)
	until(t, func() bool { return left.Held() == nil }, "what nobody took is taken anew")
	assert.Greater(t, left.Fence(), fence)
	until(t, func() bool { return lost(taken, "a") }, "what another took is lost")
	assert.Error(t, taken.Held())
	assert.NoError(t, taken.Release(t.Context()), "of a lease that is lost")
	assert.NoError(t, theirs.Held())
	assert.NoError(t, own.Held())
	a.sees(t, "a", "b")
}

func TestWhileNATSIsAwayNothingIsConfirmedAndNobodyIsTakenForDead(t *testing.T) {
	t.Parallel()
	servers := natstest.Start(t, 1)
	a, b := join(t, servers, "a"), join(t, servers, "b")
	ofA, ofB := acquire(t, a, "sensor-1"), acquire(t, b, "sensor-2")
	released := acquire(t, b, "sensor-3")
	fences := []uint64{ofA.Fence(), ofB.Fence()}
	servers.Down(0)
	a.awayTold(t)
	b.awayTold(t)
	for _, l := range []lease.Lease{ofA, ofB} {
		assert.ErrorIs(t, l.Held(), lease.ErrUnconfirmed)
		assert.NoError(t, l.Context().Err(), "what runs goes on")
	}
	_, err := a.Acquire(t.Context(), "sensor-4")
	assert.ErrorIs(t, err, lease.ErrUnconfirmed)
	assert.Error(t, released.Release(t.Context()), "nobody could be told")
	assert.ErrorIs(t, context.Cause(released.Context()), lease.ErrReleased)
	time.Sleep(away)

	servers.Up(0)
	until(t, func() bool { return ofA.Held() == nil && ofB.Held() == nil }, "confirmed again")
	assert.Equal(t, fences, []uint64{ofA.Fence(), ofB.Fence()}, "without a write")
	a.sees(t, "a", "b")
	until(t, func() bool {
		_, err := a.Acquire(t.Context(), "sensor-3")
		return err == nil
	}, "the release comes through")
	time.Sleep(2 * term) // for whoever would be taken for dead after all
	assert.NoError(t, errors.Join(ofA.Context().Err(), ofB.Context().Err()))
	assert.Equal(t, fences, []uint64{ofA.Fence(), ofB.Fence()})
}

func TestANameHasOneProcess(t *testing.T) {
	t.Parallel()
	servers := natstest.Start(t, 1)
	a := join(t, servers, "a")
	l := acquire(t, a, "sensor")
	_, err := natslease.Join(t.Context(), natslease.Config{
		Conn: servers.Connect(0), Name: "a", Duration: term,
	})
	require.ErrorIs(t, err, natslease.ErrNameTaken)
	assert.NoError(t, l.Held())

	a.link.Cut(true) // and the next process comes, as after a crash
	next := join(t, servers, "a")
	assert.Error(t, l.Held())
	again := acquire(t, next, "sensor")
	assert.Greater(t, again.Fence(), l.Fence())
	a.link.Cut(false)
	var last error
	for _, err := range a.Watch(t.Context()) { // ends, for the first process has to
		last = err
	}
	assert.ErrorIs(t, last, natslease.ErrNameTaken)
	assert.Error(t, l.Context().Err())
	assert.NoError(t, a.Close(t.Context()))
	time.Sleep(term)
	assert.NoError(t, again.Held())
}

func TestTheSoleProcessOfAServerWaitsForNobody(t *testing.T) {
	server, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer server.Close()
	for _, name := range []string{"a", "a", "b"} {
		nc, err := server.Connect()
		require.NoError(t, err)
		r, err := natslease.Join(t.Context(), natslease.Config{
			Conn: nc, Name: name, Duration: time.Hour, Sole: true,
		})
		require.NoError(t, err)
		place{Replica: r}.sees(t, name)
		_, err = r.Acquire(t.Context(), "sensor")
		require.NoError(t, err)
		nc.Close() // it is killed
		defer r.Close(context.Background())
	}
}

func TestFleetsOfTwoBucketsDoNotMix(t *testing.T) {
	nc := natstest.Alone(t)
	for _, bucket := range []string{"plant-1", "plant-2"} {
		r, err := natslease.Join(t.Context(), natslease.Config{
			Conn: nc, Bucket: bucket, Name: "a", Duration: term,
		})
		require.NoError(t, err)
		defer r.Close(context.Background())
		_, err = r.Acquire(t.Context(), "sensor")
		require.NoError(t, err)
		place{Replica: r}.sees(t, "a")
	}
}

func TestWrongConfigurationsAreNamed(t *testing.T) {
	nc := natstest.Alone(t)
	for want, c := range map[string]natslease.Config{
		"set Conn":       {},
		"bucket \"a.b\"": {Conn: nc, Bucket: "a.b"},
		"duration":       {Conn: nc, Duration: time.Millisecond},
		"the name has":   {Conn: nc, Name: string(make([]byte, 256))},
	} {
		_, err := natslease.Join(t.Context(), c)
		if assert.Error(t, err) {
			assert.Contains(t, err.Error(), want)
			assert.NotContains(t, err.Error(), "\n")
		}
	}
}

func TestJoiningEndsWithItsContext(t *testing.T) {
	servers := natstest.Start(t, 1)
	nc := servers.Connect(0)
	servers.Down(0)
	cause := errors.New("the program does not wait")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
	defer cancel()
	_, err := natslease.Join(ctx, natslease.Config{Conn: nc, Name: "a"})
	assert.ErrorIs(t, err, cause)
}
