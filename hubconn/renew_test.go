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
			assert.GreaterOrEqual(s, gap, 42*time.Minute)
			assert.LessOrEqual(s, gap, 54*time.Minute)
			gaps[gap] = true
		}
		assert.Greater(s, len(gaps), 10, "the moment is drawn anew each time")
		assert.Equal(s, since, conn.Stats().Since)
		assert.GreaterOrEqual(s, conn.Stats().Acknowledged, uint64(24))
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
