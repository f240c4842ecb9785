// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn"
)

// gone refuses what is for the device "gone".
func gone(status int) func(string, *hubconn.Message) error {
	return func(device string, _ *hubconn.Message) error {
		if device == "gone" {
			return refused(status, "gone")
		}
		return nil
	}
}

// together has all of what send sends be in one batch: they come while another message is written.
func (s *sender) together(send func()) {
	s.event("first", "first")
	synctest.Wait()
	send()
	synctest.Wait()
	close(s.keeper.gate)
}

// Whatever one message meets, the others beside it are kept once, and acknowledged.
func TestGoodMessagesBesideOneThatIsNotTakenAreAcknowledged(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		bad    func(*sender)
		kept   int // beside first, a, b and c
		counts [3]int
		says   string
	}{
		"a device that is gone": {
			status: 404, bad: func(s *sender) { s.event("gone", "x") },
			counts: [3]int{4, 1, 0}, says: "gone",
		},
		"a device without room": {
			status: 503, bad: func(s *sender) { s.event("gone", "x") },
			counts: [3]int{4, 0, 1}, says: "gone",
		},
		"several of it": {
			status: 404, bad: func(s *sender) { s.event("gone", "x"); s.event("gone", "y") },
			counts: [3]int{4, 1, 1}, says: "gone",
		},
		"a topic that is none": {
			bad: func(s *sender) { s.publish("telemetry", 1, "x") }, counts: [3]int{4, 1, 0},
			says: "no such topic",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := &keeper{gate: make(chan struct{}), refuse: gone(c.status)}
				w := newWorld(t, k)
				s := w.connect()
				s.together(func() {
					s.event("hall", "a")
					c.bad(s)
					s.event("hall", "b")
					s.event("cellar", "c")
				})
				last := s.next
				assert.Equal(t, []uint16{1, 2, last - 1, last}, s.acks(10), "and then the end")
				<-s.ended
				assert.ElementsMatch(t, []string{"first", "a", "b", "c"}, k.kept)
				assert.Equal(t, c.counts, [3]int{w.kept, w.refused, w.failed})
				assert.Equal(t, 1, strings.Count(w.log.String(), "mqtt client turned away"))
				assert.Contains(t, w.log.String(), c.says)
			})
		})
	}
}

// One device does not hold up the others of its connection, and its own messages keep their order.
func TestOtherDevicesGoOnUntilTheConnectionEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		no := true
		k := &keeper{refuse: func(device string, _ *hubconn.Message) error {
			if strings.EqualFold(device, "gone") && no {
				no = false
				return refused(http.StatusNotFound, "gone")
			}
			return nil
		}}
		w := newWorld(t, k)
		s := w.connect()
		start := time.Now()
		s.event("gone", "1")
		synctest.Wait()
		s.event("GONE", "2") // which would be taken now, and is the same device
		time.Sleep(pause / 2)
		s.event("hall", "3")
		s.publish("devices/gone/messages/alarms/", 1, "4")
		assert.Equal(t, []uint16{3, 4}, s.acks(10))
		assert.Equal(t, pause, time.Since(start))
		<-s.ended
		assert.Equal(t, []string{"3", "4"}, slices.Sorted(slices.Values(k.kept)))
		assert.Equal(t, [3]int{2, 1, 1}, [3]int{w.kept, w.refused, w.failed})
	})
}

// A breach of the protocol ends the connection when what came before it is acknowledged, and the
// log has the reason.
func TestWhatCameBeforeABreachOfTheProtocolIsAcknowledged(t *testing.T) {
	for name, c := range map[string]struct {
		bad  func(*sender)
		says string
	}{
		"QoS 2": {
			func(s *sender) { s.publish("devices/hall/messages/events/", 2, "x") },
			"QoS 2 is not supported",
		},
		"a message of 500 KB": {
			func(s *sender) {
				go s.event("hall", strings.Repeat("x", 500000)) // which nobody reads
			},
			"packet too large",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, &keeper{gate: make(chan struct{})})
				s := w.connect()
				s.together(func() {
					s.event("hall", "a")
					c.bad(s)
				})
				assert.Equal(t, []uint16{1, 2}, s.acks(10))
				<-s.ended
				_ = s.nc.Close()
				assert.Equal(t, []string{"first", "a"}, w.keeper.kept)
				assert.Equal(t, [3]int{2, 1, 0}, [3]int{w.kept, w.refused, w.failed})
				assert.Contains(t, w.log.String(), c.says)
			})
		})
	}
}

// Each attempt is a write: one bad message among many is found by few, and nothing is kept twice.
func TestTheMessageAtFaultIsFoundByHalves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{gate: make(chan struct{}), refuse: func(_ string, m *hubconn.Message) error {
			if string(m.Body) == "150" || string(m.Body) == "180" {
				return refused(http.StatusBadRequest, "bad: %s", m.Body)
			}
			return nil
		}}
		w := newWorld(t, k)
		s := w.connect()
		var want []string
		s.together(func() {
			for i := range 256 {
				if i < 150 {
					want = append(want, fmt.Sprint(i))
				}
				s.event("hall", fmt.Sprint(i))
			}
		})
		assert.Len(t, s.acks(1000), 1+150)
		<-s.ended
		assert.Equal(t, append([]string{"first"}, want...), k.kept)
		assert.LessOrEqual(t, len(k.calls), 12)
		assert.Equal(t, [3]int{151, 1, 105}, [3]int{w.kept, w.refused, w.failed})
		assert.Contains(t, w.log.String(), "bad: 150")
	})
}

// What is kept by one call has room in the smallest outbox: so each part is acknowledged by itself.
func TestManyMessagesOfADeviceAreKeptInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := &keeper{gate: make(chan struct{})}
		full := 0
		k.refuse = func(string, *hubconn.Message) error {
			if full++; full > 4 { // the first message, and a part
				return refused(http.StatusServiceUnavailable, "full")
			}
			return nil
		}
		w := newWorld(t, k)
		s := w.connect()
		body := strings.Repeat("x", 80<<10)
		s.together(func() {
			for range 7 {
				s.event("hall", body)
			}
		})
		assert.Equal(t, []uint16{1, 2, 3, 4}, s.acks(10), "and no other: they come again")
		<-s.ended
		assert.Len(t, k.kept, 4)
		for _, call := range k.calls {
			assert.LessOrEqual(t, len(strings.Join(call, "")), keptAtOnce)
		}
		assert.Equal(t, [3]int{4, 0, 4}, [3]int{w.kept, w.refused, w.failed})
	})
}
