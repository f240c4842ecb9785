// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
)

func TestTheTokenIsRenewedBehindTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		var log bytes.Buffer
		s.dialer.Logger = slog.New(slog.NewTextHandler(&log, nil))
		conn := s.connect()
		since := conn.Stats().Since
		for range 24 {
			time.Sleep(time.Hour)
			require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("hourly")}))
		}
		require.NoError(s, conn.Context().Err())
		attempts := s.hub.Attempts()
		assert.GreaterOrEqual(s, len(attempts), 24*10/9)
		assert.LessOrEqual(s, len(attempts), 24*10/7+2)
		gaps := map[time.Duration]bool{}
		for i := 1; i < len(attempts); i++ {
			gap := attempts[i].Time.Sub(attempts[i-1].Time)
			// the expiry in a token is cut to the second
			assert.GreaterOrEqual(s, gap, 42*time.Minute-time.Second)
			assert.LessOrEqual(s, gap, 54*time.Minute)
			gaps[gap] = true
		}
		assert.Greater(s, len(gaps), 10, "the moment is drawn anew each time")
		assert.Equal(s, since, conn.Stats().Since)
		assert.GreaterOrEqual(s, conn.Stats().Responses, uint64(24))
		assert.Equal(s, len(attempts)-1, strings.Count(log.String(), "renewed"))
		assert.NotContains(s, log.String(), "sig=")
	})
}

// Ten goroutines send all through some thirty renewals, and every tenth PUBACK is kept back, so
// that renewals find messages in flight: some that the hub has, some that it has not.
func TestARenewalLosesNoMessage(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL, s.dialer.AckTimeout = time.Minute, time.Hour
		for i := range 100 {
			s.hub.Inject(hubtest.Fault{
				On: hubtest.Publish, Skip: 9, NoAnswer: true, Stored: i%2 == 0,
			})
		}
		conn := s.connect()
		const senders, each = 10, 100
		var sending sync.WaitGroup
		for i := range senders {
			sending.Go(func() {
				for j := range each {
					body := fmt.Appendf(nil, "%d/%d", i, j)
					if !assert.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: body})) {
						return
					}
					time.Sleep(time.Duration(1+(i*7+j*13)%29) * time.Second)
				}
			})
		}
		sending.Wait()
		got := map[string]bool{}
		for _, m := range s.hub.Messages() {
			got[string(m.Body)] = true
		}
		assert.Len(s, got, senders*each)
		assert.Greater(s, len(s.hub.Messages()), senders*each, "some were sent again")
		assert.Greater(s, len(s.hub.Attempts()), 20)
		require.NoError(s, conn.Context().Err())
	})
}

// A renewal waits for acknowledgements that are due: nothing is begun anew on the next link.
func TestARenewalWaitsForWhatIsInFlight(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, Delay: 2 * time.Second, Times: -1})
		conn := s.connect()
		for range 200 {
			start := time.Now()
			require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
			assert.Equal(s, 2*time.Second, time.Since(start))
		}
		assert.Greater(s, s.accepted(), 6)
	})
}

func TestMessagesSentDuringARenewalWaitForIt(t *testing.T) {
	play(t, func(s *stage) {
		// as the hub does under load
		s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 1, Delay: 50 * time.Second})
		conn := s.connect()
		for len(s.hub.Attempts()) < 2 {
			time.Sleep(time.Second)
		}
		start := time.Now()
		ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
		defer cancel()
		assert.ErrorIs(s, conn.Send(ctx, hubconn.Message{}), context.DeadlineExceeded)
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{Body: []byte("x")}))
		assert.GreaterOrEqual(s, time.Since(start), 48*time.Second)
		assert.Len(s, s.hub.Messages(), 1)
	})
}

func TestTheOldLinkServesUntilTheNewOneIsReady(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.network.SetFault(host, simnet.Blackhole)
		time.Sleep(42*time.Minute - time.Second)
		for conn.Context().Err() == nil {
			before := time.Now()
			err := conn.Send(s.Context(), hubconn.Message{})
			if err != nil {
				break
			}
			assert.Equal(
				s, before, time.Now(), "no pause while the network connection is being made",
			)
			time.Sleep(time.Second)
		}
		e := s.ended(conn, hubconn.Unreachable)
		assert.Equal(s, "renew", e.Op)
	})
}

func TestARenewalThatFailsEndsTheConnectionWithItsError(t *testing.T) {
	for name, row := range map[string]struct {
		fault func(*stage)
		class hubconn.Class
	}{
		"refused":       {func(s *stage) { s.network.SetFault(host, simnet.Refused) }, hubconn.Unreachable},
		"rejected":      {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: -1}) }, hubconn.Rejected},
		"overloaded":    {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1}) }, hubconn.Server},
		"untrusted":     {func(s *stage) { s.network.SetCertificate(host, simnet.UnknownCA) }, hubconn.Untrusted},
		"never answers": {func(s *stage) { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: -1}) }, hubconn.Unreachable},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: -1})
				s.dialer.AckTimeout = 2 * time.Hour
				conn := s.connect()
				row.fault(s)
				result := make(chan error, 1)
				go func() { result <- conn.Send(s.Context(), hubconn.Message{}) }()
				e := s.ended(conn, row.class)
				assert.Equal(s, "renew", e.Op)
				assert.Equal(s, row.class, hubconn.ClassOf(<-result))
			})
		})
	}
}

// A renewal has from 70 to 90 % of the token's life until its end.
func TestARenewalIsTriedAgainWhileTheTokenLives(t *testing.T) {
	reset := func(f hubtest.Fault) func(*stage) { return func(s *stage) { s.hub.Inject(f) } }
	for name, row := range map[string]struct {
		fault   func(*stage)
		fails   int // tries that reach the hub
		unheard bool
	}{
		"no network":   {fault: func(s *stage) { s.network.RefuseFor(host, 56*time.Minute) }},
		"server gone":  {fault: reset(hubtest.Fault{On: hubtest.Connect, Cut: true, Times: 3}), fails: 3},
		"overloaded":   {fault: reset(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: 3}), fails: 3},
		"late refusal": {fault: reset(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Delay: 50 * time.Second}), fails: 1},
		"no CONNACK":   {fault: reset(hubtest.Fault{On: hubtest.Connect, NoAnswer: true}), fails: 1},
		"no SUBACK":    {fault: reset(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true}), fails: 1},
		"captive portal": {fault: func(s *stage) {
			s.network.SetCertificate(host, simnet.UnknownCA)
			time.AfterFunc(56*time.Minute, func() { s.network.SetCertificate(host, simnet.Valid) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				_, err := conn.Twin(s.Context())
				require.NoError(s, err)
				row.fault(s)
				for range 24 * 60 {
					time.Sleep(time.Minute / 24)
					require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
				}
				time.Sleep(10 * time.Minute)
				require.NoError(s, conn.Context().Err())
				attempts := s.hub.Attempts()
				require.GreaterOrEqual(s, len(attempts), 2+row.fails)
				for i := 2; i < 2+row.fails; i++ {
					gap := attempts[i].Time.Sub(attempts[i-1].Time)
					assert.GreaterOrEqual(s, gap, 5*time.Second, "tries are spaced")
					assert.LessOrEqual(s, gap, 2*time.Minute)
				}
			})
		})
	}
}

// Whatever the hub itself refuses is not tried again, for it does not pass by itself.
func TestARenewalThatTheHubRefusesIsNotTriedAgain(t *testing.T) {
	for code, class := range map[byte]hubconn.Class{
		5: hubconn.Rejected, 2: hubconn.Rejected, 1: hubconn.Incompatible,
	} {
		play(t, func(s *stage) {
			conn := s.connect()
			s.hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: code, Times: -1})
			e := s.ended(conn, class)
			assert.Equal(s, code, e.ReturnCode)
			assert.Len(s, s.hub.Attempts(), 2)
		})
	}
}

// A link that is lost while its successor cannot be dialed ends the connection, as at any other
// time: what follows is for the loop above to decide.
func TestALinkThatIsLostBetweenTheTriesOfARenewalEndsTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		start := time.Now()
		s.network.RefuseFor(host, time.Hour)
		time.Sleep(54*time.Minute + time.Second)
		require.NoError(s, conn.Context().Err())
		s.network.Cut(host)
		e := s.ended(conn, hubconn.Unreachable)
		assert.Equal(s, "connection", e.Op)
		assert.Equal(s, 54*time.Minute+time.Second, time.Since(start))
	})
}

func TestALinkThatIsLostWhileARenewalWaitsForALoopBodyEndsTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("work")
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(2 * time.Hour) })
		time.Sleep(55 * time.Minute)
		require.NoError(s, conn.Context().Err())
		s.hub.Disconnect("dev1")
		lost := time.Now()
		e := s.ended(conn, hubconn.Unreachable)
		assert.Zero(s, time.Since(lost))
		assert.Equal(s, "connection", e.Op)
		assert.Equal(s, 1, s.accepted())
		cancel()
		<-got
	})
}

func TestCloseDoesNotWaitForTheRenewalThatWaitsForALoopBody(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("work")
		got := s.takes(s.Context(), conn, func(hubconn.Message) { time.Sleep(2 * time.Hour) })
		time.Sleep(55 * time.Minute)
		start := time.Now()
		require.NoError(s, conn.Close())
		assert.Less(s, time.Since(start), time.Second)
		<-got
	})
}

// A renewal of a short token leaves a tenth of its life, and not the two minutes of a long one.
func TestARenewalOfAShortTokenWaitsForALoopBody(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(52 * time.Second) })
		for n := 1; n <= 10; n++ {
			for s.accepted() < n {
				require.NoError(s, conn.Context().Err())
				time.Sleep(100 * time.Millisecond)
			}
			s.sendC2D("x")
		}
		time.Sleep(time.Minute)
		cancel()
		assert.Len(s, <-got, 10)
		for _, n := range s.delivered() {
			assert.Equal(s, 1, n)
		}
	})
}

// Nothing is tried after the end of the token's life; the old link serves until then.
func TestARenewalIsGivenUpAtTheEndOfTheToken(t *testing.T) {
	play(t, func(s *stage) {
		start := time.Now()
		conn := s.connect()
		s.network.RefuseFor(host, 2*time.Hour)
		dials := s.network.Dials(host)
		e := s.ended(conn, hubconn.Unreachable)
		assert.Equal(s, "renew", e.Op)
		assert.Equal(s, time.Hour, time.Since(start))
		tries := s.network.Dials(host) - dials
		assert.GreaterOrEqual(s, tries, 5)
		assert.LessOrEqual(s, tries, 60)
	})
}

// With no link left there is nothing to wait for when no further try fits into the token's life.
func TestARenewalWithoutALinkIsGivenUpWithItsLastTry(t *testing.T) {
	play(t, func(s *stage) {
		start := time.Now()
		s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 1, ReturnCode: 3, Times: -1})
		conn := s.connect()
		s.ended(conn, hubconn.Server)
		assert.Less(s, time.Since(start), time.Hour)
		attempts := s.hub.Attempts()
		assert.GreaterOrEqual(s, len(attempts), 4)
		assert.Equal(s, attempts[len(attempts)-1].Time.Sub(start), time.Since(start))
	})
}

// cached is a credential whose tokens live as they please.
type cached struct {
	sasKey
	token func(resource string, expiry time.Time) string
}

func (c cached) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	return c.token(resource, expiry), nil
}

// A token is renewed at 70 to 90 % of what is left of it when the link comes into use.
func TestARenewalGoesByTheTokensOwnExpiry(t *testing.T) {
	key := sasKey("0123456789abcdef")
	for name, row := range map[string]struct {
		token    func(resource string, expiry time.Time) string
		delay    time.Duration // of each CONNACK
		from, to time.Duration
	}{
		"as asked for": {func(r string, at time.Time) string { return sas.Token(r, key, at) }, 0, 42 * time.Minute, 54 * time.Minute},
		"shorter": {func(r string, _ time.Time) string {
			return sas.Token(r, key, time.Now().Add(10*time.Minute))
		}, 0, 7 * time.Minute, 9 * time.Minute},
		"longer": {func(r string, _ time.Time) string {
			return sas.Token(r, key, time.Now().Add(24*time.Hour))
		}, 0, 1008 * time.Minute, 1296 * time.Minute},
		"shorter, and a slow hub": {func(r string, _ time.Time) string {
			return sas.Token(r, key, time.Now().Add(2*time.Minute))
		}, time.Minute, 42 * time.Second, 54 * time.Second},
		"over by the clock here": {func(r string, _ time.Time) string {
			return sas.Token(r, key, time.Now().Add(-time.Minute))
		}, 0, 42 * time.Minute, 54 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.SetExpiryGrace(2 * time.Hour)
				if row.delay > 0 {
					s.hub.SetExpiryGrace(0)
					s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Delay: row.delay, Times: -1})
				}
				conn, err := s.dialer.Dial(s.Context(), s.at, cached{s.key, row.token})
				require.NoError(s, err)
				defer conn.Close()
				for range 3 {
					accepted, attempts := time.Now(), len(s.hub.Attempts())
					for len(s.hub.Attempts()) == attempts {
						require.NoError(s, conn.Context().Err())
						time.Sleep(time.Second)
					}
					took := time.Since(accepted)
					assert.GreaterOrEqual(s, took, row.from-time.Second)
					assert.LessOrEqual(s, took, row.to+time.Second)
					time.Sleep(row.delay)
				}
				require.NoError(s, conn.Context().Err())
			})
		})
	}
}

func TestATokenWhoseExpiryCannotBeReadLivesForTokenTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		s.network.Handle(host, hostile{}) // accepts any password
		s.dialer.TokenTTL, s.dialer.KeepAlive = 10*time.Minute, time.Hour
		conn, err := s.dialer.Dial(s.Context(), s.at, cached{s.key, func(string, time.Time) string {
			time.Sleep(time.Minute) // a slow TPM: the life is counted from the request
			return "opaque"
		}})
		require.NoError(s, err)
		defer conn.Close()
		start, dials := time.Now(), s.network.Dials(host)
		for s.network.Dials(host) == dials {
			require.NoError(s, conn.Context().Err())
			time.Sleep(time.Second)
		}
		took := time.Since(start) - time.Minute
		assert.GreaterOrEqual(s, took, 9*time.Minute*7/10)
		assert.LessOrEqual(s, took, 9*time.Minute*9/10+time.Second)
	})
}

func TestCloseDuringARenewal(t *testing.T) {
	play(t, func(s *stage) {
		for name, fault := range map[string]func(){
			"dial":    func() { s.network.SetFault(host, simnet.Blackhole) },
			"connect": func() { s.hub.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: -1}) },
		} {
			conn := s.connect()
			dials := s.network.Dials(host)
			fault()
			for s.network.Dials(host) == dials {
				time.Sleep(time.Second)
			}
			time.Sleep(6 * time.Second)
			start := time.Now()
			require.NoError(s, conn.Close())
			assert.Zero(s, time.Since(start), name)
			assert.ErrorIs(s, context.Cause(conn.Context()), hubconn.ErrClosed)
			s.network.SetFault(host, simnet.None)
			s.hub.ClearFaults()
		}
	})
}

// The hub ends the connection of an expired token; a renewal comes before that even if the grace is
// nothing.
func TestTheHubNeverSeesAnExpiredToken(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.SetExpiryGrace(0)
		conn := s.connect()
		time.Sleep(12 * time.Hour)
		synctest.Wait()
		assert.NoError(s, conn.Context().Err())
	})
}
