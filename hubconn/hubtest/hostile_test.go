// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Whatever hostile clients do to the ports, the devices are served; and when the network closes,
// nothing is left.
func TestDevicesAreServedBesideHostileClients(t *testing.T) {
	before := runtime.NumGoroutine()
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	h := NewHub(n, hubHost)
	var hostile []net.Conn
	intrude := func(addr string, withTLS bool, say string) {
		nc, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		hostile = append(hostile, nc)
		if withTLS {
			cfg := n.TLSConfig()
			cfg.ServerName = hubHost
			nc = tls.Client(nc, cfg)
		}
		_, err = nc.Write([]byte(say))
		require.NoError(t, err)
	}
	for range 50 {
		for _, addr := range []string{n.MQTTAddr(), n.HTTPSAddr()} {
			// says nothing
			intrude(addr, false, "")
			// begins a handshake
			intrude(addr, false, "\x16\x03\x01\x02\x00")
			// speaks no TLS
			intrude(addr, false, "GET / HTTP/1.1\r\n\r\n")
			// announces 256 MB
			intrude(addr, true, "\x10\xff\xff\xff\x7f\x00\x04MQTT")
			// and the rest later
			intrude(addr, true, "\x10")
			// likewise
			intrude(addr, true, "GET /$iothub/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: webso")
		}
	}
	var devices sync.WaitGroup
	for i := range 20 {
		id := fmt.Sprintf("dev%d", i)
		require.NoError(t, h.Put(Device{ID: id}))
		c := device(t, h, id)
		devices.Go(func() {
			transport := []string{"mqtt", "ws"}[i%2]
			if _, err := c.dial(transport); !assert.NoError(t, err) {
				return
			}
			c.close()
			assert.Zero(t, c.connect(transport))
			c.deliver("hello")
		})
	}
	devices.Wait()
	assert.Len(t, h.Messages(), 20)
	require.NoError(t, n.Close())
	for _, nc := range hostile {
		_ = nc.Close()
	}
	waitForGoroutines(t, before)
}

// waitForGoroutines waits until no more goroutines run than before.
func waitForGoroutines(t *testing.T, before int) {
	t.Helper()
	for range 10_000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond) // those that ended are counted until the scheduler has seen it
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines left over:\n%s", stacks[:runtime.Stack(stacks, true)])
}
