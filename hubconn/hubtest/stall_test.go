// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

func TestConnectionSurvivesAStall(t *testing.T) {
	for _, transport := range []string{"mqtt", "ws"} {
		inMemory(t, func(t *testing.T, n *simnet.Network) {
			h := NewHub(n, hubHost)
			require.NoError(t, h.Put(Device{ID: "dev1"}))
			c := device(t, h, "dev1")
			require.Zero(t, c.connect(transport))
			h.Inject(Fault{On: Publish, Delay: 10 * time.Second})
			c.publish("devices/dev1/messages/events/", 1, 1, "acknowledged while nothing flows")
			synctest.Wait()
			n.Stall(hubHost, true)
			c.publish("devices/dev1/messages/events/", 1, 2, "sent while nothing flows")
			time.Sleep(10 * time.Minute)
			assert.Len(t, h.Messages(), 1)
			n.Stall(hubHost, false)
			for _, id := range []uint16{1, 2} {
				assert.Equal(t, id, c.receive().(*packets.PubackPacket).MessageID)
			}
			assert.Len(t, h.Messages(), 2)
			c.close()
		})
	}
}

func TestClientThatLeavesDuringAStallIsNotNoticed(t *testing.T) {
	inMemory(t, func(t *testing.T, n *simnet.Network) {
		h := NewHub(n, hubHost)
		require.NoError(t, h.Put(Device{ID: "dev1"}))
		c := device(t, h, "dev1")
		c.keepAlive = 600
		require.Zero(t, c.connect("mqtt"))
		n.Stall(hubHost, true)
		c.close()
		time.Sleep(10 * time.Minute)
		assert.True(t, h.Connected("dev1"))
		time.Sleep(5*time.Minute + time.Second)
		assert.False(t, h.Connected("dev1"), "its keep-alive has passed")
		n.Stall(hubHost, false)
		synctest.Wait()
		assert.Zero(t, n.Cut(hubHost))
	})
}
