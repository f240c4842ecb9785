// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// rate is what a slow link carries, in bytes a second.
const rate = 4 << 10

// busy has a number of senders send short messages one after another, and tells of each how long it
// took, until it is stopped.
func busy(t *testing.T, c *Conn, senders int, sent func(i int, took time.Duration)) (stop func()) {
	var sending sync.WaitGroup
	ended := make(chan struct{})
	for i := range senders {
		sending.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				start := time.Now()
				assert.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 1000)))
				sent(i, time.Since(start))
			}
		})
	}
	return func() {
		close(ended)
		sending.Wait()
	}
}

func TestALongMessageIsNotStarvedByShortOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.slow(rate)
			p.serve(nil)
		})
		var longest [31]time.Duration
		stop := busy(t, c, len(longest), func(i int, took time.Duration) {
			longest[i] = max(longest[i], took)
		})
		time.Sleep(time.Minute)
		start := time.Now()
		require.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 250<<10)))
		took := time.Since(start)
		stop()
		// At most what was on its way, itself, and one acknowledgement's time.
		const bound = (maxLoad + 250<<10) / rate * time.Second
		assert.Less(t, took, bound)
		for _, d := range longest {
			assert.Less(t, d, bound+maxLoad/rate*time.Second, "a short one")
		}
	})
}

// Whoever waits for a place gets it in the order in which he came, also when another place would do
// for someone behind him.
func TestPlacesAreGivenInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []int
		c := connect(t, Options{}, func(p *peer) {
			p.accept(0)
			time.Sleep(5 * time.Second) // until all wait
			p.acknowledge(func(packet packets.ControlPacket) {
				if publish, ok := packet.(*packets.PublishPacket); ok {
					order = append(order, len(publish.Payload))
				}
			})
		})
		var all sync.WaitGroup
		sizes := []int{200 << 10, 100 << 10, 1, 90 << 10, 2, 3, 250 << 10, 4}
		for _, size := range sizes {
			all.Go(func() {
				assert.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, size)))
			})
			synctest.Wait()
		}
		all.Wait()
		assert.Equal(t, sizes, order)
	})
}

func TestAWindowIsFilledToItsLimitsAndNotBeyond(t *testing.T) {
	w := newWindow(2)
	for _, row := range []struct {
		used, size, load int
		fits             bool
	}{
		{0, maxLoad, 0, true}, {0, maxLoad + 1, 0, true}, {0, maxLoad, 1, false},
		{0, maxLoad - 1, 1, true}, {0, 1, maxLoad - 1, true}, {0, 1, maxLoad, false},
		{1, 1, 0, true}, {2, 1, 0, false},
	} {
		w.used = row.used
		assert.Equal(t, row.fits, w.fits(&request{places: 1, size: row.size}, row.load), "%+v", row)
	}
}

func TestNoMoreThan256KiBAreOnTheirWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, p := link(t)
		play(t, p, func(p *peer) {
			p.accept(0)
			time.Sleep(5 * time.Second)
			p.acknowledge(nil)
		})
		c, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
		require.NoError(t, err)
		p.nc.(*memnet.Conn).Stall(true)
		_, _ = nc.(*memnet.Conn).Write(make([]byte, 0))
		var sending sync.WaitGroup
		for range 30 {
			sending.Go(func() {
				assert.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 16<<10)))
			})
		}
		synctest.Wait()
		c.tap.mu.Lock()
		assert.LessOrEqual(t, c.tap.load(), maxLoad)
		assert.Greater(t, c.tap.load(), maxLoad-17<<10)
		assert.LessOrEqual(t, cap(c.tap.pending)+cap(c.tap.spare), 4*maxLoad)
		c.tap.mu.Unlock()
		p.nc.(*memnet.Conn).Stall(false)
		sending.Wait()
		time.Sleep(10 * time.Minute)
		c.tap.mu.Lock()
		assert.Zero(t, cap(c.tap.pending)+cap(c.tap.spare))
		c.tap.mu.Unlock()
		require.NoError(t, c.Close())
	})
}

func TestDrainIsNotStarvedByOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := connect(t, Options{}, func(p *peer) {
			p.slow(rate)
			p.serve(nil)
		})
		stop := busy(t, c, 40, func(int, time.Duration) {})
		time.Sleep(time.Minute)
		start := time.Now()
		require.NoError(t, c.Drain(t.Context()))
		assert.Less(t, time.Since(start), 40*1000/rate*2*time.Second)
		stop()
	})
}
