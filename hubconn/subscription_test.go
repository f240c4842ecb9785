// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// The hub makes a subscription also when ctx ends before it says so.
func TestALoopThatEndsBeforeItsSubscriptionIsMadeLeavesNone(t *testing.T) {
	for name, ends := range map[string]time.Duration{
		"at once": 0, "under way": time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.Inject(hubtest.Fault{
					On: hubtest.Subscribe, Delay: 5 * time.Second, Times: -1,
				})
				conn := s.connect()
				ctx, cancel := context.WithCancel(s.Context())
				time.AfterFunc(ends, cancel)
				start := time.Now()
				assert.Empty(s, <-s.takes(ctx, conn, func(hubconn.Message) {}))
				assert.LessOrEqual(s, time.Since(start), ends+100*time.Millisecond)
				time.Sleep(time.Minute)
				s.sendC2D("later")
				time.Sleep(12 * time.Hour)
				assert.Equal(s, []int{0}, s.counts())
				require.NoError(s, conn.Context().Err())
			})
		})
	}
}

// forgetful is a hub that keeps no session, as one that has failed over; or one that does not say
// anything of subscriptions over its first link, and remembers them then.
type forgetful struct {
	mute                   bool
	subacks, unsubacks     time.Duration // how long each takes
	accepted, unsubscribed atomic.Int64
}

func (f *forgetful) ServeMQTT(nc net.Conn) {
	present := byte(0)
	packets(nc, func(kind byte, body []byte) {
		switch kind {
		case 1: // CONNECT
			if f.accepted.Add(1) > 1 && f.mute {
				present = 1
			}
			_, _ = nc.Write([]byte{0x20, 2, present, 0})
		case 8: // SUBSCRIBE
			if !f.mute || present == 1 {
				time.AfterFunc(f.subacks, func() {
					_, _ = nc.Write([]byte{0x90, 3, body[0], body[1], 1})
				})
			}
		case 10: // UNSUBSCRIBE
			if !f.mute || present == 1 {
				f.unsubscribed.Add(1)
				time.AfterFunc(f.unsubacks, func() {
					_, _ = nc.Write([]byte{0xb0, 2, body[0], body[1]})
				})
			}
		}
	})
}

// packets hands on what a client sends, but pings, until it is gone.
func packets(nc net.Conn, take func(kind byte, body []byte)) {
	defer nc.Close()
	r := bufio.NewReader(nc)
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return
		}
		length, err := binary.ReadUvarint(r) // MQTT's lengths are such
		body := make([]byte, length)
		if _, failed := io.ReadFull(r, body); err != nil || failed != nil {
			return
		}
		if kind>>4 == 12 { // PINGREQ
			_, _ = nc.Write([]byte{0xd0, 0})
			continue
		}
		take(kind>>4, body)
	}
}

func (*forgetful) ServeHTTP(http.ResponseWriter, *http.Request) {}

// Each renewal ends the subscription on the old link first, so that the hub has read all
// acknowledgements, whether or not it remembered the session before.
func TestARenewalLeavesALinkInOrderThatTheHubKeptNoSessionFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		hub := &forgetful{}
		s.network.Handle(host, hub)
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {})
		time.Sleep(10 * time.Minute)
		require.NoError(s, conn.Context().Err())
		assert.Greater(s, hub.accepted.Load(), int64(8))
		assert.Equal(s, hub.accepted.Load()-1, hub.unsubscribed.Load())
		cancel()
		<-got
	})
}

// The next loop makes the subscription again before the hub has said that it ended the last one.
func TestARenewalLeavesALinkInOrderWhereOneLoopFollowedAnother(t *testing.T) {
	for name, hub := range map[string]*forgetful{
		"UNSUBACK first": {subacks: 2 * time.Second, unsubacks: time.Second},
		"SUBACK first":   {unsubacks: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, simnet.New(), hubconn.MQTT)
				s.network.Handle(host, hub)
				s.dialer.TokenTTL = time.Minute
				conn := s.connect()
				ctx, cancel := context.WithTimeout(s.Context(), 10*time.Second)
				defer cancel()
				assert.Empty(s, <-s.takes(ctx, conn, func(hubconn.Message) {}))
				ctx, cancel = context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) {})
				for hub.accepted.Load() < 2 {
					require.NoError(s, conn.Context().Err())
					time.Sleep(time.Second)
				}
				assert.EqualValues(s, 2, hub.unsubscribed.Load())
				cancel()
				<-got
			})
		})
	}
}

// The SUBACK comes over the old link, which has been given up for the next one.
func TestASubscriptionThatIsMadeWhileItsLinkIsLeftStandsOnTheNext(t *testing.T) {
	play(t, func(s *stage) {
		dials, renewing := 0, make(chan struct{})
		dial := s.dialer.DialContext
		s.dialer.DialContext = func(ctx context.Context, n, address string) (net.Conn, error) {
			if dials++; dials == 2 {
				close(renewing)
				time.Sleep(time.Second)
			}
			return dial(ctx, n, address)
		}
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, Delay: 2 * time.Second})
		<-renewing
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {})
		time.Sleep(10 * time.Second)
		assert.Equal(s, 2, s.accepted())
		s.sendC2D("x")
		time.Sleep(time.Second)
		cancel()
		assert.Equal(s, []string{"x"}, <-got)
	})
}

// It is given up two seconds after Dial, but not when a loop is about to make it.
func TestASubscriptionOfAnEarlierProcessIsLeftToTheLoopThatHasBegun(t *testing.T) {
	play(t, func(s *stage) {
		s.listened()
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, Delay: 5 * time.Second})
		time.Sleep(time.Second)
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {})
		time.Sleep(10 * time.Second)
		s.sendC2D("x")
		time.Sleep(time.Second)
		cancel()
		assert.Equal(s, []string{"x"}, <-got)
	})
}

func TestASubscriptionThatTheHubMayHaveMadeIsGivenUpOnTheNextLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		hub := &forgetful{mute: true}
		s.network.Handle(host, hub)
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		assert.Empty(s, <-s.takes(ctx, conn, func(hubconn.Message) {}))
		for hub.accepted.Load() < 2 {
			require.NoError(s, conn.Context().Err())
			time.Sleep(time.Second)
		}
		time.Sleep(5 * time.Second)
		assert.EqualValues(s, 1, hub.unsubscribed.Load())
	})
}

// abrupt is a hub that has a message for the device, and reads no acknowledgement that comes after
// the end of the subscription.
type abrupt struct {
	leaving      chan struct{} // the subscription ends
	links, acked atomic.Int64
}

func (a *abrupt) ServeMQTT(nc net.Conn) {
	link := a.links.Add(1)
	packets(nc, func(kind byte, body []byte) {
		switch kind {
		case 1: // CONNECT
			_, _ = nc.Write([]byte{0x20, 2, 1, 0})
		case 8: // SUBSCRIBE
			const topic = "devices/dev1/messages/devicebound/"
			_, _ = nc.Write([]byte{0x90, 3, body[0], body[1], 1})
			header := byte(0x32)
			if link > 1 {
				header |= 8 // DUP
			}
			message := append([]byte{header, 4 + byte(len(topic)), 0, byte(len(topic))}, topic...)
			if a.acked.Load() == 0 {
				_, _ = nc.Write(append(message, 0, 1))
			}
		case 10: // UNSUBSCRIBE
			if link == 1 {
				close(a.leaving)
				time.Sleep(time.Second)
			}
			_, _ = nc.Write([]byte{0xb0, 2, body[0], body[1]})
		case 4: // PUBACK
			if link > 1 {
				a.acked.Add(1)
			}
		}
	})
}

func (*abrupt) ServeHTTP(http.ResponseWriter, *http.Request) {}

func TestABodyThatFinishesWhileTheLinkIsLeftIsNotHandedItsMessageAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, simnet.New(), hubconn.MQTT)
		hub := &abrupt{leaving: make(chan struct{})}
		s.network.Handle(host, hub)
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {
			<-hub.leaving
			time.Sleep(100 * time.Millisecond)
		})
		time.Sleep(90 * time.Second)
		cancel()
		assert.Len(s, <-got, 1)
		assert.EqualValues(s, 1, hub.acked.Load())
		require.NoError(s, conn.Context().Err())
	})
}
