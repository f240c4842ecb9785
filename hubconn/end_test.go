// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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

func TestTheProgramClosesTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		require.NoError(s, conn.Close())
		assert.ErrorIs(s, context.Cause(conn.Context()), hubconn.ErrClosed)
		require.NoError(s, conn.Close(), "again")
		require.NoError(s, conn.CloseCause(errors.New("late")))
		assert.ErrorIs(s, context.Cause(conn.Context()), hubconn.ErrClosed, "the first cause stays")
		assert.ErrorIs(s, conn.Send(s.Context(), hubconn.Message{}), hubconn.ErrClosed)
		synctest.Wait()
		assert.False(s, s.hub.Connected("dev1"))
	})
}

func TestTheProgramClosesTheConnectionWithACause(t *testing.T) {
	play(t, func(s *stage) {
		moved := errors.New("the device has moved")
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: -1})
		conn := s.connect()
		result := make(chan error, 1)
		go func() { result <- conn.Send(s.Context(), hubconn.Message{}) }()
		synctest.Wait()
		require.NoError(s, conn.CloseCause(moved))
		assert.Equal(s, moved, context.Cause(conn.Context()))
		assert.ErrorIs(s, <-result, moved)
	})
}

func TestTheHubEndsTheConnection(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"disconnects": func(s *stage) { s.hub.Disconnect("dev1") },
		"disabled":    func(s *stage) { s.hub.Disable("dev1") },
		"deleted":     func(s *stage) { s.hub.Delete("dev1") },
		"reset":       func(s *stage) { s.network.Cut(host) },
		"taken over": func(s *stage) {
			other := s.connect()
			s.Cleanup(func() {
				assert.ErrorIs(s, context.Cause(other.Context()), hubconn.ErrClosed)
			})
			s.Cleanup(func() { _ = other.Close() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				end(s)
				e := s.ended(conn, hubconn.Unreachable)
				assert.Equal(s, "connection", e.Op)
				require.NoError(s, conn.Close())
			})
		})
	}
}

func TestAStalledPeerIsNoticedTenSecondsAfterThePing(t *testing.T) {
	for _, keepAlive := range []time.Duration{0, 30 * time.Second, time.Hour} {
		play(t, func(s *stage) {
			s.dialer.KeepAlive = keepAlive
			conn := s.connect()
			s.network.Stall(host, true)
			start := time.Now()
			s.ended(conn, hubconn.Unreachable)
			ping := map[time.Duration]time.Duration{
				0: 225 * time.Second, 30 * time.Second: 15 * time.Second,
				time.Hour: 1162 * time.Second,
			}[keepAlive]
			assert.Equal(s, ping+10*time.Second, time.Since(start))
			ended := time.Now()
			require.NoError(s, conn.Close())
			assert.Zero(s, time.Since(ended))
		})
	}
}

func TestCloseIsBoundedWithAStalledPeer(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.network.Stall(host, true)
		var sending sync.WaitGroup
		for range 5 {
			sending.Go(func() {
				_ = conn.Send(s.Context(), hubconn.Message{Body: make([]byte, 200<<10)})
			})
		}
		synctest.Wait()
		start := time.Now()
		require.NoError(s, conn.Close())
		sending.Wait()
		assert.LessOrEqual(s, time.Since(start), 100*time.Millisecond)
		time.Sleep(5 * time.Second) // the goodbye ends by itself
	})
}

func TestAnIdleConnectionStaysUp(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = 30 * 24 * time.Hour
		conn := s.connect()
		time.Sleep(72 * time.Hour)
		require.NoError(s, conn.Context().Err())
		assert.Greater(s, conn.Stats().Responses, uint64(1000))
		assert.Len(s, s.hub.Attempts(), 1)
	})
}

// What a hostile server sends ends the connection, before memory is set aside for it, and nothing
// else.
func TestAHostilePeerEndsTheConnection(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"300 MB announced":      {0x30, 0x80, 0xa6, 0xc4, 0x8f, 0x01},
		"SUBACK with two codes": {0x90, 4, 0, 1, 0, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := newStage(t, simnet.New(), hubconn.MQTT)
			s.network.Handle(host, hostile(bytes))
			conn := s.connect()
			e := s.ended(conn, hubconn.Unreachable)
			assert.Contains(t, e.Error(), "protocol violation", name)
		})
	}
}

// hostile is a server that accepts any CONNECT and then sends bytes.
type hostile []byte

func (h hostile) ServeMQTT(nc net.Conn) {
	defer nc.Close()
	buf := make([]byte, 4096)
	if _, err := nc.Read(buf); err != nil {
		return
	}
	_, _ = nc.Write([]byte{0x20, 2, 0, 0})
	time.Sleep(time.Second)
	_, _ = nc.Write(h)
	_, _ = io.Copy(io.Discard, nc)
}

func TestNoErrorShowsASecret(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Disable("dev1")
		<-conn.Context().Done()
		_, refused := s.dial()
		for _, err := range []error{
			context.Cause(conn.Context()), conn.Send(s.Context(), hubconn.Message{}), refused,
		} {
			for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
				text := fmt.Sprintf(format, err)
				assert.NotContains(s, text, "sig=")
				assert.NotContains(s, text, string(s.key))
			}
		}
	})
}

func (hostile) ServeHTTP(http.ResponseWriter, *http.Request) {}
