// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo is a Site that says its name over HTTPS, and repeats what it hears on the MQTT port.

type echo string

func (e echo) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.WriteString(w, string(e))
}

func (e echo) ServeMQTT(nc net.Conn) {
	_, _ = io.Copy(nc, nc)
	_ = nc.Close()
}

// open connects to the MQTT port.

func open(n *Network, host string) (net.Conn, error) {
	raw, err := n.DialContext(context.Background(), "tcp", host+":8883")
	if err != nil {
		return nil, err
	}
	return shake(n, raw, host)
}

func shake(n *Network, raw net.Conn, host string) (net.Conn, error) {
	cfg := n.TLSConfig()
	cfg.ServerName = host
	tc := tls.Client(raw, cfg)
	if err := tc.Handshake(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return tc, nil
}

// outside connects to the MQTT port as another process does: by address.

func outside(t *testing.T, n *Network) net.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", n.MQTTAddr())
	require.NoError(t, err)
	return raw
}

func TestHostsAreToldApartByTLSServerName(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.Handle("B.example", echo("b"))
		for url, want := range map[string]string{
			"https://a.example/": "a", "https://b.example/": "b", "https://A.EXAMPLE:443/": "a",
		} {
			answer, body, err := get(t, n, n.TLSConfig(), url)
			require.NoError(t, err, url)
			assert.Equal(t, want, body, url)
			assert.Equal(t, 1, answer.ProtoMajor, "WebSocket needs HTTP/1.1")
			assert.Equal(t, uint16(tls.VersionTLS12), answer.TLS.Version)
		}
		nc, err := open(n, "b.example")
		require.NoError(t, err)
		_, err = nc.Write([]byte("hello"))
		require.NoError(t, err)
		heard := make([]byte, 5)
		_, err = io.ReadFull(nc, heard)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(heard))
		require.NoError(t, nc.Close())
	})
}

func TestConnectionsWithoutAKnownNameGoToTheDefaultSite(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for _, host := range []string{"localhost", "127.0.0.1"} {
			_, _, err := get(t, n, n.TLSConfig(), "https://"+host+"/")
			var dns *net.DNSError
			require.ErrorAs(t, err, &dns)
			assert.True(t, dns.IsNotFound)
		}
		n.SetDefault("a.example")
		for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "a.example"} {
			_, body, err := get(t, n, n.TLSConfig(), "https://"+host+"/")
			require.NoError(t, err, host)
			assert.Equal(t, "a", body)
		}
		// A name that only the client knows, as that of a container.
		raw, err := n.DialContext(t.Context(), "tcp", "localhost:8883")
		require.NoError(t, err)
		nc, err := shake(n, raw, "simulator")
		require.NoError(t, err)
		require.NoError(t, nc.Close())
		assert.Equal(t, 5, n.Dials("a.example"))
	})
}

func TestNamesAndPorts(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		var dns *net.DNSError
		_, err := open(n, "nobody.example")
		require.ErrorAs(t, err, &dns)
		assert.True(t, dns.IsNotFound)
		_, err = n.DialContext(t.Context(), "tcp", "a.example:1883")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		_, err = n.DialContext(t.Context(), "tcp", "a.example")
		assert.Error(t, err)

		nc, err := open(n, "a.example")
		require.NoError(t, err)
		n.Remove("A.example")
		_, err = nc.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_ = nc.Close()
		_, err = open(n, "a.example")
		require.ErrorAs(t, err, &dns)
		assert.True(t, dns.IsNotFound)
	})
}

// counter counts the bytes a client got.

// writer is a Site that writes until it cannot.

func TestClientsThatNeverFinishAreDropped(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for _, address := range []string{"a.example:443", "a.example:8883"} {
			half, err := n.DialContext(t.Context(), "tcp", address)
			require.NoError(t, err)
			_, err = half.Write([]byte{0x16, 0x03}) // the beginning of a handshake
			require.NoError(t, err)
			start := time.Now()
			_, err = half.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			assert.Equal(t, 30*time.Second, time.Since(start))
			require.NoError(t, half.Close())
		}
		raw, err := n.DialContext(t.Context(), "tcp", "a.example:443")
		require.NoError(t, err)
		slow, err := shake(n, raw, "a.example")
		require.NoError(t, err)
		_, err = slow.Write([]byte("GET / HTTP/1.1\r\nX-Slow:"))
		require.NoError(t, err)
		start := time.Now()
		_, _ = io.ReadAll(slow)
		assert.Equal(t, 30*time.Second, time.Since(start))
		_ = slow.Close()
	})
}

func TestCloseEndsEverything(t *testing.T) {
	manyClients := func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.Handle("stalled.example", echo("s"))
		n.Handle("waiting.example", waiting{})
		n.SetFault("hole.example", Blackhole)
		var clients sync.WaitGroup
		for range 20 { // half-open ones of each kind
			raw, err := n.DialContext(t.Context(), "tcp", "a.example:8883")
			require.NoError(t, err)
			defer raw.Close()
			nc, err := open(n, "a.example")
			require.NoError(t, err)
			defer nc.Close()
		}
		st, err := open(n, "stalled.example")
		require.NoError(t, err)
		defer st.Close()
		n.Stall("stalled.example", true)
		clients.Go(func() {
			_, err := n.DialContext(context.Background(), "tcp", "hole.example:8883")
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
		clients.Go(func() {
			_, _, err := get(t, n, n.TLSConfig(), "https://waiting.example/")
			assert.Error(t, err)
		})
		for n.Dials("waiting.example") == 0 || n.Dials("hole.example") == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, n.Close())
		clients.Wait()
		require.NoError(t, n.Close())
		_, err = n.DialContext(t.Context(), "tcp", "a.example:443")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { manyClients(t, New()) })
	})
	t.Run("sockets", func(t *testing.T) {
		before := runtime.NumGoroutine()
		n, err := Listen(ListenConfig{})
		require.NoError(t, err)
		manyClients(t, n)
		waitForGoroutines(t, before)
	})
}

// waiting is a Site that answers nothing until its client, or the network, is gone.

type waiting struct{}

func (waiting) ServeHTTP(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func (waiting) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func TestListenFailsInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = Listen(ListenConfig{HTTPSPort: port})
	assert.ErrorContains(t, err, "simnet: listen for HTTPS: ")
	_, err = Listen(ListenConfig{MQTTPort: port})
	assert.ErrorContains(t, err, "simnet: listen for MQTT: ")
}
