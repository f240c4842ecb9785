// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// inBubble plays in memory and in virtual time what the program plays on sockets and in real time.
func inBubble(
	t *testing.T, store cache.Store, spoil func(*world),
) (r *stage.Report, printed string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		w, err := newWorld(network, store)
		require.NoError(t, err)
		if spoil != nil {
			spoil(w)
		}
		r, printed = program.Rehearse(t.Context(), w.World, w.steps())
		require.NoError(t, network.Close())
	})
	return r, printed
}

func TestEveryStepGoesAsExpectedInLessThanAMinute(t *testing.T) {
	for range 10 { // the back-off is random
		r, printed := inBubble(t, &cache.Memory{}, nil)
		require.True(t, r.AsExpected(), printed)
		require.Less(t, r.Took, time.Minute)
		require.NotContains(t, printed, "NOT OK")
		require.NotContains(t, printed, deviceKey)
		require.Contains(t, printed, "All 7 steps went as expected")
		require.Contains(t, printed, "3 registrations, 3 polls, 1 lookup, 1 clock check")
		require.Equal(t, 7, strings.Count(printed, " s  ok "))
		require.NoError(t, stage.TooWide(printed))
	}
}

// forgetful is a store that takes everything and keeps nothing.
type forgetful struct{}

func (forgetful) Get(context.Context, string) ([]byte, error) { return nil, cache.ErrMiss }
func (forgetful) Put(context.Context, string, []byte) error   { return nil }
func (forgetful) Delete(context.Context, string) error        { return nil }

// broken is a store that cannot be read.
type broken struct{ cache.Memory }

func (*broken) Get(context.Context, string) ([]byte, error) {
	return nil, errors.New("no such device")
}

func TestAStepThatGoesOtherwiseIsNotOK(t *testing.T) {
	for name, c := range map[string]struct {
		store cache.Store
		spoil func(*world)
		step  int // from 1: the first that must fail
		says  string
	}{
		"a second registration":   {spoil: func(w *world) { w.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 503}) }, step: 1, says: "2 registrations"},
		"nothing remembered":      {store: forgetful{}, step: 1, says: "the store does not hold"},
		"a lookup at a warm boot": {store: &broken{}, step: 1, says: "no such device"},
		"refused for other reasons": {
			spoil: func(w *world) {
				w.a.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 1, ReturnCode: 3})
			},
			step: 2, says: "it took",
		},
		"refused twice": {
			spoil: func(w *world) {
				w.a.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 3, ReturnCode: 3})
			},
			step: 3, says: "3 attempts",
		},
		"messages lost": {
			spoil: func(w *world) {
				w.c.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: -1})
			},
			step: 7, says: "nothing more happened",
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := c.store
			if store == nil {
				store = &cache.Memory{}
			}
			r, printed := inBubble(t, store, c.spoil)
			require.NoError(t, r.FirstOtherwise(c.step, c.says), printed)
			require.Contains(t, printed, "steps went otherwise")
		})
	}
}

func TestAStepThatHangsEndsThePlay(t *testing.T) {
	r, printed := inBubble(t, &cache.Memory{}, func(w *world) {
		w.Network.SetFault(w.a.Host(), simnet.Blackhole)
	})
	require.False(t, r.AsExpected())
	require.Less(t, r.Took, time.Minute)
	require.True(t, r.Outcomes[0].Played)
	require.False(t, r.Outcomes[1].Played)
	require.Contains(t, printed, "not played")
}

func TestAHastyDeviceIsNoticed(t *testing.T) {
	s := &stage.Scene{Tell: stage.NewNarrator(&bytes.Buffer{})}
	now := time.Now()
	refused := hubtest.Attempt{Time: now, Transport: hubMQTT, Answered: true, ReturnCode: 3}
	accepted := hubtest.Attempt{
		Time: now.Add(stage.BackOff - time.Millisecond), Transport: hubMQTT, Answered: true,
	}
	right := func(a hubtest.Attempt) bool { return a.ReturnCode == 3 }
	refusedOnce(s, []hubtest.Attempt{refused, accepted}, right)
	require.Len(t, s.Problems(), 1)
	require.Contains(t, s.Problems()[0], "came back after 4.999s")
	accepted.Time = now.Add(stage.BackOff)
	s = &stage.Scene{Tell: s.Tell}
	refusedOnce(s, []hubtest.Attempt{refused, accepted}, right)
	require.Empty(t, s.Problems())
}

func TestInterruptEndsItCleanlyOnRealSockets(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	t.Setenv("TMP", dir) // as Windows calls it
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var out bytes.Buffer
	// The first line of the play ends it: a registration is then under way.
	code, err := program.Run(ctx, writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("asks DPS to register it")) {
			cancel()
		}
		return out.Write(b)
	}))
	require.NoError(t, err)
	assert.Equal(t, stage.Interrupted, code)
	assert.Contains(t, out.String(), "interrupted")
	assert.NotContains(t, out.String(), "NOT OK")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left)
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
