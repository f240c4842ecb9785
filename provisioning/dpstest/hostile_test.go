// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Whoever opens connections and says little, or nonsense, keeps nobody else from being served.
func TestHostileClientsDoNotKeepOthersFromBeingServed(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	w := populate(t, n, dpstest.Config{RetryAfter: -1, RegistrationsPerMinute: -1, PollsPer10s: -1})
	w.enroll("dev")

	var open []net.Conn
	defer func() {
		for _, nc := range open {
			_ = nc.Close()
		}
	}()
	dial := func(address string) net.Conn {
		nc, err := net.Dial("tcp", address)
		require.NoError(t, err)
		open = append(open, nc)
		return nc
	}
	secure := func(address, host string) net.Conn {
		cfg := w.net.TLSConfig()
		cfg.ServerName = host
		tc := tls.Client(dial(address), cfg)
		require.NoError(t, tc.Handshake())
		return tc
	}
	const clients = 60
	for i := range clients {
		// Connections that never begin their handshake, and some that begin it and stop.
		for _, address := range []string{n.HTTPSAddr(), n.MQTTAddr()} {
			nc := dial(address)
			if i%2 == 0 {
				_, _ = nc.Write([]byte{0x16, 0x03, 0x01, 0x02, 0x00, 0x01})
			}
		}
		// A slow request: its head, or its body, never ends.
		nc := secure(n.HTTPSAddr(), dpstest.GlobalEndpoint)
		head := "PUT /" + scope + "/registrations/dev/register?api-version=" + version +
			" HTTP/1.1\r\nHost: x\r\n"
		if i%2 == 0 {
			head += "Authorization: " + token("dev", key1) + "\r\nContent-Length: 1000\r\n\r\n{"
		}
		_, _ = io.WriteString(nc, head)
		// Packets that announce much and bring nothing, of the service and of a hub.
		for _, host := range []string{dpstest.GlobalEndpoint, hubA} {
			_, _ = secure(n.MQTTAddr(), host).Write([]byte{0x10, 0xff, 0xff, 0xff, 0x7f})
		}
	}
	// And a flood of garbage that goes on.
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for _, address := range []string{n.HTTPSAddr(), n.MQTTAddr()} {
		flood.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if nc, err := net.Dial("tcp", address); err == nil {
					_, _ = nc.Write(bytes.Repeat([]byte{0x16, 0x03, 0xff}, 100))
					_ = nc.Close()
				}
				time.Sleep(time.Millisecond) // the test needs a processor, too
			}
		})
	}
	defer flood.Wait()
	defer close(stop)

	began := time.Now()
	for _, transport := range []string{dpstest.HTTPS, dpstest.MQTT, dpstest.WebSocket} {
		d := w.device(transport, "dev", byKey("dev", key1))
		op := d.register("").decode(t).OperationID
		assert.Equal(t, hubA, d.poll(op, "").decode(t).state(t).AssignedHub)
		d.close()
	}
	o := w.service()
	o.must("GET", "/enrollments/dev", nil)
	w.operator(w.a.ConnectionString(), "2021-04-12").must("GET", "/twins/dev", nil)
	assert.Less(t, time.Since(began), 20*time.Second)
}

// Whatever an HTTP client sends, it gets a response or the end of its connection, and the next one
// is served.
func TestNonsenseOverHTTPS(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		for name, text := range map[string]string{
			"no request": "\x00\x01\x02\r\n\r\n",
			"long line":  "GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
			"bad length": "PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
			"bad escape": "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
			"no host":    "GET / HTTP/1.1\r\n\r\n", "old": "GET / HTTP/0.9\r\n\r\n",
			"odd chunks": "POST /enrollments/query HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " +
				"chunked\r\n\r\nzz\r\n",
			"many headers": "GET / HTTP/1.1\r\nHost: x\r\n" +
				strings.Repeat("A: b\r\n", 50_000) + "\r\n",
			"upgrade": "GET /$iothub/websocket HTTP/1.1\r\nHost: x\r\nUpgrade: " +
				"websocket\r\nConnection: upgrade\r\n\r\n",
		} {
			raw, err := w.net.DialContext(t.Context(), "tcp", dpstest.GlobalEndpoint+":443")
			require.NoError(t, err)
			cfg := w.net.TLSConfig()
			cfg.ServerName = dpstest.GlobalEndpoint
			nc := tls.Client(raw, cfg)
			require.NoError(t, nc.Handshake())
			_ = nc.SetDeadline(time.Now().Add(time.Minute))
			go func() { _, _ = fmt.Fprint(nc, text) }()
			answer, _ := io.ReadAll(nc)
			if len(answer) > 0 {
				assert.True(t, strings.HasPrefix(string(answer), "HTTP/1."), "%s: %q", name, answer)
			}
			_ = nc.Close()
		}
		d := w.https("dev", version, credential{})
		defer d.close()
		assert.Equal(t, http.StatusNotFound, d.must("GET", "/", "").status)
	})
}
