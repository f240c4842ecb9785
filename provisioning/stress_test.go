// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// What a device promises, while the link is cut again and again: nothing acknowledged is lost,
// nothing lost is kept from the sender, and the desired properties come out right.

// senders send messages from several goroutines over whichever connection there is. Each message is
// sent until it is acknowledged, and every try is counted.
type senders struct {
	t        *testing.T
	acked    sync.Map // message ID → true
	tries    atomic.Int64
	failures atomic.Int64
	done     atomic.Int64
	all      sync.WaitGroup

	mu      sync.Mutex
	conn    *hubconn.Conn
	changed chan struct{}
}

func newSenders(t *testing.T) *senders { return &senders{t: t, changed: make(chan struct{})} }

// session hands the connection to the senders for as long as it lasts.
func (s *senders) session(ctx context.Context, conn *hubconn.Conn) error {
	s.use(conn)
	<-ctx.Done()
	s.use(nil)
	return nil
}

func (s *senders) use(conn *hubconn.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	close(s.changed)
	s.changed = make(chan struct{})
}

// next waits for a connection other than the one that failed.
func (s *senders) next(ctx context.Context, failed *hubconn.Conn) *hubconn.Conn {
	for {
		s.mu.Lock()
		conn, changed := s.conn, s.changed
		s.mu.Unlock()
		if conn != nil && conn != failed {
			return conn
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

func (s *senders) start(ctx context.Context, goroutines, messages int) {
	for g := range goroutines {
		s.all.Go(func() {
			var failed *hubconn.Conn
			for i := range messages / goroutines {
				id := fmt.Sprintf("%d-%d", g, i)
				for acked := false; !acked; {
					conn := s.next(ctx, failed)
					if conn == nil {
						return
					}
					s.tries.Add(1)
					err := conn.Send(ctx, hubconn.Message{MessageID: id, Body: []byte(id)})
					if acked = err == nil; acked {
						s.acked.Store(id, true)
						continue
					}
					s.failures.Add(1)
					assert.Error(
						s.t, conn.Context().Err(), "a message fails with its connection only: %v",
						err,
					)
					failed = conn
				}
				s.done.Add(1)
			}
		})
	}
}

// check compares what the senders were told with what the hub has.
func (s *senders) check(hub *hubtest.Hub, messages int) (duplicates int) {
	s.t.Helper()
	copies := map[string]int{}
	for _, m := range hub.Messages() {
		id := m.System["$.mid"]
		require.Equal(s.t, id, string(m.Body), "one message's body came with another's properties")
		copies[id]++
	}
	acked := 0
	s.acked.Range(func(id, _ any) bool {
		acked++
		require.NotZero(
			s.t, copies[id.(string)], "message %v was acknowledged and is not at the hub", id,
		)
		return true
	})
	require.Equal(s.t, messages, acked)
	require.EqualValues(
		s.t, s.tries.Load(), int64(acked)+s.failures.Load(),
		"every try was either acknowledged or reported as failed",
	)
	require.Len(s.t, copies, messages)
	for _, n := range copies {
		duplicates += n - 1
	}
	return duplicates
}

// renewalCounter counts the renewals that a connection logs.
type renewalCounter struct{ atomic.Int64 }

func (*renewalCounter) Enabled(context.Context, slog.Level) bool { return true }
func (c *renewalCounter) WithAttrs([]slog.Attr) slog.Handler     { return c }
func (c *renewalCounter) WithGroup(string) slog.Handler          { return c }
func (c *renewalCounter) Handle(_ context.Context, r slog.Record) error {
	if r.Message == "connection renewed" {
		c.Add(1)
	}
	return nil
}

func TestNoAcknowledgedMessageIsLostWhileTheLinkIsCutAndTokensAreRenewed(t *testing.T) {
	const goroutines, messages, cuts, renewals = 8, 10_000, 50, 5
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		// The hub takes its time: there are messages in flight at every moment, also while the
		// device connects anew.
		busy := func() {
			r.a.ClearFaults()
			r.a.Inject(hubtest.Fault{
				On: hubtest.Connect, Delay: 1500 * time.Millisecond, Times: always,
			})
			r.a.Inject(hubtest.Fault{On: hubtest.Publish, Delay: 3 * time.Second, Times: always})
		}
		busy()
		dev := r.device()
		dev.Hub.TokenTTL = time.Minute
		var renewed renewalCounter
		dev.Hub.Logger = slog.New(&renewed)
		s := newSenders(t)
		ctx, cancel := context.WithCancelCause(context.Background())
		stopped := errors.New("stopped by the test")
		ran := make(chan error, 1)
		go func() { ran <- dev.Run(ctx, s.session) }()
		defer func() {
			cancel(stopped)
			require.ErrorIs(t, <-ran, stopped)
			s.all.Wait()
		}()
		s.start(ctx, goroutines, messages)

		made := 0
		for ; made < cuts; made++ {
			for !r.a.Connected(rigID) {
				time.Sleep(time.Second)
			}
			for pause := time.Now().Add(rand.N(80 * time.Second)); time.Now().Before(pause) ||
				!r.a.Connected(rigID); {
				time.Sleep(rand.N(time.Second))
			}
			switch made % 3 {
			case 0: // at any moment
				require.NotZero(t, r.network.Cut(hubA))
			case 1:
				// when the hub has taken a message, before it says so; or before it has taken it
				r.a.ClearFaults()
				r.a.Inject(hubtest.Fault{
					On: hubtest.Publish, Cut: true, Stored: rand.N(2) == 0, Skip: rand.N(8),
				})
				for r.a.Connected(rigID) && s.done.Load() < messages {
					time.Sleep(100 * time.Millisecond)
				}
				busy()
			case 2:
				// in the middle of whatever the hub says next, be it an acknowledgement or the
				// handshake
				r.network.CutAfter(hubA, rand.N(12_000))
				require.NotZero(t, r.network.Cut(hubA))
			}
		}
		require.Less(
			t, s.done.Load(), int64(messages), "the link was cut while messages were on their way",
		)
		for renewed.Load() < renewals {
			time.Sleep(time.Minute)
		}
		s.all.Wait()
		r.a.ClearFaults()
		duplicates := s.check(r.a, messages)
		t.Logf("%d messages acknowledged after %d tries: %d cuts, %d renewals, %d connections, "+
			"%d duplicates, in %v", messages, s.tries.Load(), made, renewed.Load(),
			dev.Status().Connections, duplicates, r.elapsed().Round(time.Second))
		require.Zero(
			t, r.asked(dpstest.Register, dpstest.Clock), "a bad line is no reason to register",
		)
	})
}

// On sockets, in real time. A cut costs the next start of the device here, as when its power fails:
// a real back-off would take minutes.
func TestNoAcknowledgedMessageIsLostOnSockets(t *testing.T) {
	const goroutines, messages, cuts = 8, 2_000, 10
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, network.Close()) })
	hub := hubtest.NewHub(network, hubA)
	service := dpstest.New(network, dpstest.Config{RetryAfter: time.Second})
	service.Link(hub)
	key := base64.StdEncoding.EncodeToString([]byte("key-0123456789-0"))
	require.NoError(t, service.Enroll(
		dpstest.IndividualEnrollment{RegistrationID: rigID, Attestation: dpstest.Keys(key, "")},
	))
	// One that keeps no waits: a device that is switched on again would wait in real time.
	store := struct{ cache.Store }{new(cache.Memory)}

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	s := newSenders(t)
	s.start(ctx, goroutines, messages)
	finished := make(chan struct{})
	go func() {
		s.all.Wait()
		close(finished)
	}()
	cut := 0
	for over := false; !over; {
		dev := &provisioning.Device{
			IDScope: service.IDScope(), Attestation: dps.SymmetricKey{ID: rigID, Key: key},
			Store: store, DialContext: network.DialContext, TLSConfig: network.TLSConfig(),
		}
		powered, fail := context.WithCancel(ctx)
		err := dev.Run(powered, func(ctx context.Context, conn *hubconn.Conn) error {
			begun := s.done.Load()
			lost := make(chan struct{})
			go func() {
				defer close(lost)
				if err := s.session(ctx, conn); err != nil {
					t.Error(err)
				}
				fail()
			}()
			limit := begun + 20 + rand.Int64N(3*messages/cuts/2-40)
			for cut < cuts && ctx.Err() == nil {
				if s.done.Load() >= limit {
					cut++
					network.Cut(hubA)
					break
				}
				select {
				case <-time.After(time.Millisecond):
				case <-finished:
					limit = 0
				}
			}
			select {
			case <-finished:
				if cut >= cuts {
					over = true
					fail()
				}
			case <-lost:
			}
			<-lost
			return nil
		})
		fail()
		require.ErrorIs(t, err, context.Canceled)
		require.NoError(t, ctx.Err())
	}
	duplicates := s.check(hub, messages)
	t.Logf(
		"%d messages acknowledged after %d tries: %d cuts, %d duplicates", messages, s.tries.Load(),
		cut, duplicates,
	)
	require.Equal(t, 1, service.Count(dpstest.Register, dpstest.Lookup))
}

func TestDesiredPropertiesComeOutRightThroughReconnectsAndRenewals(t *testing.T) {
	const patches, reconnects = 1_000, 100
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Hub.TokenTTL = time.Minute
		var renewed renewalCounter
		dev.Hub.Logger = slog.New(&renewed)
		var (
			mu       sync.Mutex
			state    map[string]any
			version  int64
			seen     int // versions
			full     int
			sessions int
		)
		follow := func(ctx context.Context, conn *hubconn.Conn) error {
			begin := true
			for d, err := range conn.Desired(ctx) {
				if err != nil {
					<-ctx.Done()
					return nil
				}
				var change map[string]any
				if !assert.NoError(t, json.Unmarshal(d.JSON, &change)) {
					return nil
				}
				mu.Lock()
				switch {
				case begin:
					assert.True(t, d.Full, "each session begins with the whole state")
					assert.GreaterOrEqual(t, d.Version, version, "and never goes back")
					if d.Version == version {
						assert.Equal(t, state, change, "one version is one state")
					}
					sessions++
				default:
					assert.Greater(t, d.Version, version, "versions strictly rise")
					assert.True(t, d.Full || d.Version == version+1, "no change is missed")
				}
				if !begin || d.Version > version {
					seen++
				}
				begin = false
				if d.Full {
					state = map[string]any{}
					full++
				}
				for name, value := range change {
					if value == nil {
						delete(state, name)
					} else {
						state[name] = value
					}
				}
				version = d.Version
				mu.Unlock()
			}
			return nil
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		stopped := errors.New("stopped by the test")
		ran := make(chan error, 1)
		go func() { ran <- dev.Run(ctx, follow) }()
		defer func() {
			cancel(stopped)
			require.ErrorIs(t, <-ran, stopped)
		}()

		var last int64
		for round := range reconnects {
			for begun := 0; begun <= round; time.Sleep(100 * time.Millisecond) {
				mu.Lock()
				begun = sessions
				mu.Unlock()
			}
			cutAt := rand.N(patches / reconnects)
			for i := range patches / reconnects {
				if i == cutAt {
					if rand.N(2) == 0 {
						r.network.Cut(hubA)
					} else {
						r.a.Disconnect(rigID)
					}
				}
				patch := map[string]any{fmt.Sprint("k", rand.N(20)): rand.N(1000)}
				if rand.N(4) == 0 {
					patch[fmt.Sprint("k", rand.N(20))] = nil
				}
				v, err := r.a.PatchDesired(rigID, patch)
				require.NoError(t, err)
				require.Greater(t, v, last)
				last = v
				if rand.N(3) == 0 { // else several in one moment
					time.Sleep(rand.N(40 * time.Second))
				}
			}
		}
		for end := time.Now().Add(time.Hour); ; time.Sleep(time.Second) {
			mu.Lock()
			now := version
			mu.Unlock()
			if now == last {
				break
			}
			require.True(t, time.Now().Before(end), "version %d was never seen, %d was", last, now)
		}
		mu.Lock()
		defer mu.Unlock()
		twin, ok := r.a.Twin(rigID)
		require.True(t, ok)
		wanted, err := json.Marshal(twin.Desired)
		require.NoError(t, err)
		got, err := json.Marshal(state)
		require.NoError(t, err)
		require.JSONEq(t, string(wanted), string(got), "the last state is the hub's")
		require.Equal(t, twin.DesiredVersion, version)
		require.GreaterOrEqual(t, sessions, reconnects)
		t.Logf(
			"%d patches, %d sessions, %d renewals: %d versions seen, %d times as a whole", patches,
			sessions, renewed.Load(), seen, full,
		)
	})
}
