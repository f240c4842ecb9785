// SPDX-License-Identifier: Apache-2.0

package natskv_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/internal/natstest"
)

// ways are how servers come to answer nobody.
var ways = map[string]func(servers *natstest.Servers, link *natstest.Link, off bool){
	"the server is away": func(servers *natstest.Servers, _ *natstest.Link, off bool) {
		if off {
			servers.Down(0)
		} else {
			servers.Up(0)
		}
	},
	"the link is cut": func(_ *natstest.Servers, link *natstest.Link, off bool) { link.Cut(off) },
	"the link is silent": func(_ *natstest.Servers, link *natstest.Link, off bool) {
		link.Silence(off)
	},
}

func TestAReadWaitsForServersThatDoNotAnswer(t *testing.T) {
	t.Parallel()
	for name, turn := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers, link := natstest.Start(t, 1), new(natstest.Link)
			s := &natskv.Store{Conn: servers.Connect(0, nats.SetCustomDialer(link))}
			whenUp(t, s.Conn, 1)
			require.NoError(t, s.Put(t.Context(), "sensor", []byte("entry")))
			turn(servers, link, true)
			read := make(chan error, 1)
			go func() {
				data, err := s.Get(t.Context(), "sensor")
				if err == nil && string(data) != "entry" {
					err = errors.New("another value")
				}
				read <- err
			}()
			require.Eventually(t, func() bool {
				since, err := s.Away()
				return err != nil && !since.IsZero()
			}, 2*time.Minute, 10*time.Millisecond, "it is said")
			turn(servers, link, false)
			require.NoError(t, <-read)
			_, err := s.Away()
			assert.NoError(t, err)
		})
	}
}

func TestPatienceIsForAllCallsTogether(t *testing.T) {
	t.Parallel()
	const patience = 2 * time.Second
	for name, turn := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			servers, link := natstest.Start(t, 1), new(natstest.Link)
			s := &natskv.Store{
				Conn: servers.Connect(0, nats.SetCustomDialer(link)), Patience: patience,
			}
			whenUp(t, s.Conn, 1)
			require.NoError(t, s.Put(t.Context(), "sensor", []byte("entry")))
			turn(servers, link, true)
			began := time.Now()
			_, err := s.Get(t.Context(), "sensor")
			_, isStore := errors.AsType[*natskv.Error](err)
			require.True(t, isStore, "%v", err)
			require.NotErrorIs(t, err, cache.ErrMiss)
			assert.GreaterOrEqual(t, time.Since(began), patience)
			since, away := s.Away()
			assert.ErrorIs(t, away, err)
			assert.WithinRange(t, since, began, began.Add(patience))
			_, _, err = s.GetWaits(t.Context(), "sensor")
			require.Error(t, err)
			again, _ := s.Away()
			assert.Equal(t, since, again, "the silence is the same")
			assert.Greater(t, s.CallTimeout(), patience)
		})
	}
}

func TestWhatIsWrongAndNotSilentIsToldAtOnce(t *testing.T) {
	t.Parallel()
	s := new(natskv.Store)
	began := time.Now()
	_, err := s.Get(t.Context(), "sensor")
	require.ErrorContains(t, err, "set Conn")
	assert.Less(t, time.Since(began), natskv.DefaultPatience/2)
	_, err = s.Away()
	assert.NoError(t, err, "nobody is silent")
}

func TestACallsContextEndsItSooner(t *testing.T) {
	t.Parallel()
	servers := natstest.Start(t, 1)
	s := &natskv.Store{Conn: servers.Connect(0)}
	servers.Down(0)
	cause := errors.New("the device does not wait")
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
	defer cancel()
	began := time.Now()
	_, err := s.Get(ctx, "sensor")
	require.ErrorIs(t, err, cause)
	require.ErrorIs(t, s.Put(ctx, "sensor", nil), cause)
	assert.Less(t, time.Since(began), natskv.DefaultPatience/2)
}

// The client's own defaults would notice a link that has fallen silent after some minutes.
func TestAConnectionNoticesASilentLinkWithinSeconds(t *testing.T) {
	o := nats.GetDefaultOptions()
	for _, option := range natskv.ConnOptions() {
		require.NoError(t, option(&o))
	}
	assert.LessOrEqual(t, o.PingInterval*time.Duration(o.MaxPingsOut+1), natskv.DefaultPatience/3)
}
