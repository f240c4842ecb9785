// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func none(uint16) bool { return false }

func TestWhoeverLeavesTheQueueLeavesTheOthersInOrder(t *testing.T) {
	for _, leaving := range [][]int{{0, 1}, {1, 2}, {2, 1}, {1, 0}, {3, 2}, {0, 3}, {2, 0}} {
		var w window
		all := make([]*request, 4)
		for i := range all {
			all[i] = &request{size: i}
			w.enqueue(all[i])
		}
		for _, i := range leaving {
			w.dequeue(all[i])
		}
		w.enqueue(all[leaving[0]])
		var forth, back []int
		for r := w.first; r != nil; r = r.next {
			forth = append(forth, r.size)
		}
		for r := w.last; r != nil; r = r.prev {
			back = append([]int{r.size}, back...)
		}
		want := []int{}
		for i := range all {
			if i != leaving[0] && i != leaving[1] {
				want = append(want, i)
			}
		}
		want = append(want, leaving[0])
		assert.Equal(t, want, forth, "%v", leaving)
		assert.Equal(t, want, back, "%v", leaving)
	}
}

// What the server owes is counted from the message that has been waiting longest, wherever its
// place is, and not for what has not left.
func TestThePubackThatIsOwedLongestCounts(t *testing.T) {
	w := newWindow(4)
	for i := range 4 {
		w.open(&request{places: 1, size: 1 << i, qos: 1}, none)
	}
	since, size := w.owed()
	assert.Zero(t, since+int64(size))
	for i, at := range []int64{30, 10, 20} {
		w.slots[i].written, w.slots[i].since = true, at
	}
	since, size = w.owed()
	assert.EqualValues(t, 10, since)
	assert.Equal(t, 1+2+4, size)
}

// one is a message of one byte.
func one() *request { return &request{places: 1, size: 1, done: make(chan struct{}, 1)} }

func TestAPlaceThatIsUsedAgainHasAnotherIdentifier(t *testing.T) {
	for _, limit := range []int{1, 2, 32, 1000, MaxWindow} {
		w := newWindow(limit)
		for range limit - 1 {
			w.open(one(), none)
		}
		seen := map[uint16]bool{}
		for range 2 {
			s := w.open(one(), none)
			assert.False(t, seen[s.id], limit)
			seen[s.id] = true
			assert.Equal(t, s, w.find(s.id))
			w.sent(s)
			w.wrote(0, 1)
		}
		// one that a subscription has is passed over
		var asked []uint16
		s := w.open(one(), func(id uint16) bool {
			asked = append(asked, id)
			return len(asked) == 1
		})
		assert.Len(t, asked, 2, limit)
		assert.Equal(t, asked[1], s.id)
	}
}

func TestTheLengthOfAMessageIsKnownBeforeItIsMade(t *testing.T) {
	for _, n := range []int{0, 1, 100, 127, 128, 16383, 16384, 2097151, 2097152} {
		for less := range 12 {
			payload := make([]byte, max(0, n-less))
			for qos := range byte(2) {
				made := appendPublish(nil, "topic", qos, 1, payload)
				require.Equal(t, len(made), publishLen("topic", qos, payload))
				require.Equal(t, len(made), packetLen(made))
			}
		}
	}
}

// Drain has the turn and gives up: whoever waits behind it has a place.
func TestWhoeverGivesUpHisTurnHandsItOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{MaxInFlight: 2}, func(p *peer) {
			p.accept(0)
			first := p.next() // is never acknowledged
			assert.NotNil(t, first)
			p.acknowledge(nil)
		})
		go func() { _ = c.Publish(t.Context(), "a", 1, nil) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { _ = c.Drain(ctx) }()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a", 1, nil))
		assert.Equal(t, time.Second, time.Since(start))
		require.NoError(t, c.Close())
	})
}

// The acknowledgement of a message that nobody waits for any more is not taken for another's.
func TestALateAcknowledgementCompletesNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			for n := 0; ; n++ {
				publish, ok := p.next().(*packets.PublishPacket)
				if !ok {
					return
				}
				go func() {
					time.Sleep(5 * time.Second)
					p.send(typePuback<<4, 2, byte(publish.MessageID>>8), byte(publish.MessageID))
				}()
			}
		})
		for range 20 {
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			assert.ErrorIs(t, c.Publish(ctx, "a", 1, make([]byte, 100)), context.DeadlineExceeded)
			cancel()
			r := c.tap.requests.Get().(*request)
			assert.Nil(t, r.payload, "what was the caller's is let go")
			c.tap.requests.Put(r)
			start := time.Now()
			assert.NoError(t, c.Publish(t.Context(), "a", 1, nil))
			assert.Equal(t, 5*time.Second, time.Since(start))
		}
		require.NoError(t, c.Close())
		time.Sleep(5 * time.Second)
	})
}

func TestNobodyIsServedAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) { p.serve(nil) })
		require.NoError(t, c.Close())
		c.tap.mu.Lock()
		defer c.tap.mu.Unlock()
		r := &request{places: 1, size: 1, done: make(chan struct{}, 1)}
		c.tap.window.enqueue(r)
		c.tap.grant()
		assert.True(t, r.queued)
		assert.Zero(t, c.tap.window.used)
	})
}
