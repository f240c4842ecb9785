// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
)

// A client that is turned away is told so once a second at most, and cannot fill the log.
func TestWhoIsTurnedAwayWaitsAndTheLogHasTheReason(t *testing.T) {
	long := strings.Repeat("x", 10000)
	for name, c := range map[string]struct {
		send func(*sender)
		says string
	}{
		"a wrong password": {
			func(s *sender) { s.hello(long, "guess") }, "its password is not the token",
		},
		"no password": {func(s *sender) { s.hello("bridge", "") }, "its password is not the token"},
		"MQTT 5": {
			func(s *sender) {
				_, err := s.nc.Write([]byte{
					0x10, 13, 0, 4, 'M', 'Q', 'T', 'T', 5, 2, 0, 0, 0, 0, 0,
				})
				require.NoError(s, err)
			}, "it does not speak mqtt 3.1.1",
		},
		"a password without a user name": {
			func(s *sender) {
				_, err := s.nc.Write([]byte{
					0x10, 15, 0, 4, 'M', 'Q', 'T', 'T', 4, 0x42, 0, 0, 0, 0, 0, 1, 'x',
				})
				require.NoError(s, err)
			}, "password without user name",
		},
		"a large CONNECT": {
			func(s *sender) { s.hello(strings.Repeat(long, 2), "guess") }, "packet too large",
		},
		"TLS": {
			func(s *sender) {
				_, err := s.nc.Write([]byte{0x16, 0x03, 0x01, 0x00, 0x05})
				require.NoError(s, err)
			}, "protocol violation",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &keeper{})
				w.mqtt.Token = "canary-token-0123456789"
				s := w.dial()
				start := time.Now()
				c.send(s)
				_, err := io.ReadAll(s.nc) // a CONNACK that refuses, perhaps
				require.NoError(t, err)
				assert.Equal(t, pause, time.Since(start))
				<-s.ended
				assert.Contains(t, w.log.String(), c.says)
				assert.Equal(t, 1, strings.Count(w.log.String(), "\n"))
				assert.Less(t, w.log.Len(), 700)
				assert.NotContains(t, w.log.String(), "canary")
			})
		})
	}
}

func TestALongTopicIsNotInTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &keeper{})
		s := w.connect()
		s.publish(strings.Repeat("x", 60000)+"#", 1, "")
		assert.Empty(t, s.acks(1))
		<-s.ended
		assert.Contains(t, w.log.String(), "mqtt client turned away")
		assert.Less(t, w.log.Len(), 700)
	})
}

// Who says nothing, falls silent or goes is nobody's fault, and no line.
func TestConnectionsThatEndByThemselvesAreNotLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &keeper{})
		start := time.Now()
		silent := w.dial()
		<-silent.ended
		assert.Equal(t, longestConnect, time.Since(start))
		start = time.Now()
		idle := w.connect()
		<-idle.ended
		assert.Equal(t, longestIdle, time.Since(start))
		w.connect().close()
		assert.Empty(t, w.log.String())
	})
}

// What is not kept yet takes memory, of which a client, and all together, have so much.
func TestWhatClientsHaveUnderWayIsBounded(t *testing.T) {
	body := strings.Repeat("x", 100<<10)
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &keeper{gate: make(chan struct{})})
		s := w.connect()
		s.event("first", body)
		synctest.Wait()
		go func() {
			for i := range 39 {
				s.event(fmt.Sprint("device-", i), body)
			}
		}()
		synctest.Wait()
		w.keeper.gate <- struct{}{}
		synctest.Wait()
		more := len(w.keeper.calls) - 1 // with one, perhaps, in the place of the first
		assert.GreaterOrEqual(t, more, underWay/(101<<10)-1)
		assert.LessOrEqual(t, more, underWay/(101<<10), "as many as have room")
		close(w.keeper.gate)
		assert.Len(t, s.acks(40), 40)
		s.close()
		assert.True(t, w.room.TryAcquire(underWayOfAll), "nobody has any of it")
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &keeper{gate: make(chan struct{})})
		w.room = semaphore.NewWeighted(150 << 10)
		one, other := w.connect(), w.connect()
		go one.event("hall", body)
		synctest.Wait()
		go other.event("cellar", body)
		synctest.Wait()
		assert.Equal(t, 1, len(w.keeper.calls))
		one.close() // and takes back what it has
		synctest.Wait()
		assert.Equal(t, 2, len(w.keeper.calls))
		close(w.keeper.gate)
		assert.Len(t, other.acks(1), 1)
		other.close()
		assert.True(t, w.room.TryAcquire(150<<10))
	})
}

func TestAListenerDoesNotShowItsToken(t *testing.T) {
	m := MQTT{Token: "canary-token-0123456789"}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "value", m, "pointer", &m)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "value", m, "pointer", &m)
	assert.Equal(t, 4, strings.Count(log.String(), m.String()))
	for _, shown := range []string{
		log.String(), fmt.Sprintf("%v %+v %#v %s %d %x", m, m, m, m, m, m),
		fmt.Sprintf("%v %+v %#v %s %d %x", &m, &m, &m, &m, &m, &m),
	} {
		assert.NotContains(t, shown, "canary")
		assert.NotContains(t, shown, fmt.Sprintf("%x", "canary"))
	}
}
