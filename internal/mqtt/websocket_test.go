// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// overWebSocket opens a connection to a peer behind a WebSocket upgrade.
func overWebSocket(t *testing.T, o Options, part func(*peer)) *Conn {
	w, ca := newWorld(t), newAuthority(t)
	w.serve[hubWeb] = upgraded(ca.server(hub, time.Now().Add(time.Hour)), func(nc net.Conn) {
		part(&peer{t: t, nc: nc})
	})
	nc, err := (&Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Proxy: noProxy}).WebSocket(
		t.Context(), hubURL, nil,
	)
	require.NoError(t, err)
	o.ClientID = "dev1"
	c, err := Connect(t.Context(), nc, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func noProxy(*http.Request) (*url.URL, error) { return nil, nil }

func TestMQTTOverWebSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan Message, 1)
		var last packets.ControlPacket
		long := bytes.Repeat([]byte("0123456789abcdef"), 12<<10)
		c := overWebSocket(t, Options{Receive: func(m Message) { got <- m }}, func(p *peer) {
			p.accept(0)
			p.publish("down", 1, 1, long)
			p.acknowledge(func(packet packets.ControlPacket) { last = packet })
		})
		m := <-got
		assert.True(t, bytes.Equal(long, m.Payload))
		m.Ack()
		require.NoError(t, c.Subscribe(t.Context(), "a/#", 1))
		require.NoError(t, c.Publish(t.Context(), "up", 1, long))
		time.Sleep(time.Hour)
		require.NoError(t, c.Context().Err())
		require.NoError(t, c.Close())
		synctest.Wait()
		assert.IsType(t, &packets.DisconnectPacket{}, last)
	})
}

func TestAPacketIsOneWebSocketMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		var sizes []int
		w.serve[hubWeb] = upgraded(ca.server(hub, time.Now().Add(time.Hour)), func(nc net.Conn) {
			ws := nc.(*wsConn).ws
			for {
				_, data, err := ws.ReadMessage()
				if err != nil {
					return
				}
				sizes = append(sizes, len(data))
				switch {
				case data[0] == 0x10:
					_ = ws.WriteMessage(websocket.BinaryMessage, []byte{0x20, 2, 0, 0})
				case data[0] == 0x32: // in pieces: packets may span messages
					id := data[7:9] // after a fixed header of four bytes, and the topic
					_ = ws.WriteMessage(websocket.BinaryMessage, []byte{0x40})
					_ = ws.WriteMessage(websocket.BinaryMessage, append([]byte{2}, id...))
				}
			}
		})
		nc, err := (&Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Proxy: noProxy}).WebSocket(
			t.Context(), hubURL, nil,
		)
		require.NoError(t, err)
		c, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
		require.NoError(t, err)
		require.NoError(t, c.Publish(t.Context(), "a", 1, make([]byte, 100000)))
		require.NoError(t, c.Close())
		synctest.Wait()
		assert.Equal(t, []int{18, 100009, 2}, sizes)
	})
}

func TestARefusedUpgradeTellsWhy(t *testing.T) {
	for _, status := range []int{200, 302, 400, 401, 403, 404, 407, 429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			w, ca := newWorld(t), newAuthority(t)
			var request *http.Request
			w.serve[hubWeb] = web(ca.server(hub, time.Now().Add(time.Hour)),
				func(w http.ResponseWriter, r *http.Request) {
					request = r
					w.Header().Set("Retry-After", "17")
					w.Header().Set("iothub-errorcode", "ThrottlingException")
					w.WriteHeader(status)
					_, _ = w.Write(bytes.Repeat([]byte("x"), 10000))
				})
			_, err := (&Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Proxy: noProxy}).
				WebSocket(t.Context(), hubURL, http.Header{"X-Test": {"1"}})
			refused, ok := errors.AsType[*UpgradeError](err)
			require.True(t, ok, "%d: %v", status, err)
			assert.Equal(t, status, refused.Status)
			assert.Equal(t, "17", refused.Header.Get("Retry-After"))
			assert.Equal(t, "ThrottlingException", refused.Header.Get("iothub-errorcode"))
			assert.Len(t, refused.Body, maxBody)
			assert.False(t, refused.Proxy)
			assert.Equal(t, "/$iothub/websocket", request.URL.Path)
			assert.Equal(t, "mqtt", request.Header.Get("Sec-WebSocket-Protocol"))
			assert.Equal(t, "13", request.Header.Get("Sec-WebSocket-Version"))
			assert.Equal(t, "1", request.Header.Get("X-Test"))
		})
	}
}

func TestAServerThatIsNoWebSocketServerIsAnError(t *testing.T) {
	for name, answer := range map[string]string{
		"garbage":       "MQTT?\r\n\r\n",
		"wrong accept":  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: no\r\n\r\n",
		"endless head":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20),
		"nothing":       "",
		"half a header": "HTTP/1.1 200",
	} {
		synctest.Test(t, func(t *testing.T) {
			w, ca := newWorld(t), newAuthority(t)
			w.serve[hubWeb] = secured(ca.server(hub, time.Now().Add(time.Hour)),
				func(tc *tls.Conn) {
					buf := make([]byte, 4096)
					_, _ = tc.Read(buf)
					_, _ = io.WriteString(tc, answer)
					_ = tc.Close()
				})
			start := time.Now()
			_, err := (&Dialer{
				DialContext: w.dial, TLSConfig: ca.trust(), Proxy: noProxy,
			}).WebSocket(t.Context(), hubURL, nil)
			assert.Error(t, err, name)
			assert.LessOrEqual(t, time.Since(start), 30*time.Second)
		})
	}
}

func TestAnotherSubprotocolIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		w.serve[hubWeb] = web(ca.server(hub, time.Now().Add(time.Hour)),
			func(w http.ResponseWriter, r *http.Request) {
				ws, err := (&websocket.Upgrader{}).Upgrade(
					w, r, http.Header{"Sec-WebSocket-Protocol": {"AMQPWSB10"}},
				)
				if err == nil {
					_, _, _ = ws.ReadMessage()
					_ = ws.Close()
				}
			})
		_, err := (&Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Proxy: noProxy}).WebSocket(
			t.Context(), hubURL, nil,
		)
		isProtocolError(t, err)
	})
}

func TestATextMessageEndsTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := overWebSocket(t, Options{}, func(p *peer) {
			p.accept(0)
			_ = p.nc.(*wsConn).ws.WriteMessage(websocket.TextMessage, []byte("hello"))
			p.ignore()
		})
		<-c.Context().Done()
		isProtocolError(t, context.Cause(c.Context()))
	})
}

func TestAWebSocketCloseIsALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := overWebSocket(t, Options{}, func(p *peer) {
			p.accept(0)
			_ = p.nc.Close()
		})
		<-c.Context().Done()
		assert.Error(t, context.Cause(c.Context()))
		assert.NotErrorIs(t, context.Cause(c.Context()), ErrClosed)
	})
}

// Go's TLS server does not renegotiate, so this is all that can be seen here.
func TestAWebSocketServerMayRenegotiateOnce(t *testing.T) {
	config := &tls.Config{}
	d := &Dialer{TLSConfig: config}
	assert.Equal(t, tls.RenegotiateOnceAsClient, d.webConfig().Renegotiation)
	assert.Equal(t, tls.RenegotiateNever, config.Renegotiation, "it is the caller's")
	assert.Equal(t, tls.RenegotiateOnceAsClient, (&Dialer{}).webConfig().Renegotiation)
}

func TestOnlyWSSAddressesAreDialed(t *testing.T) {
	w := newWorld(t)
	for _, address := range []string{"ws://hub.example/", "https://hub.example/", "wss:///x", "hub.example", "://", "wss://[::1/"} {
		_, err := (&Dialer{DialContext: w.dial}).WebSocket(t.Context(), address, nil)
		assert.Error(t, err, address)
	}
	assert.Empty(t, w.dialed())
}

// What kinds of proxies there are, internal/dial tests.
func TestThroughAProxy(t *testing.T) {
	for scheme, address := range map[string]string{"https": hubWeb, "mqtts": hubMQTT} {
		synctest.Test(t, func(t *testing.T) {
			w, ca := newWorld(t), newAuthority(t)
			cert := ca.server(hub, time.Now().Add(time.Hour))
			serve := func(nc net.Conn) { (&peer{t: t, nc: nc}).serve(nil) }
			w.serve[hubWeb] = upgraded(cert, serve)
			w.serve[hubMQTT] = secured(cert, func(tc *tls.Conn) { serve(tc) })
			var asked *http.Request
			w.serve["proxy.example:3128"] = tunnels(
				w, func(r *http.Request) *http.Response { asked = r; return nil },
			)
			d := &Dialer{DialContext: w.dial, TLSConfig: ca.trust(),
				Proxy: func(r *http.Request) (*url.URL, error) {
					assert.Equal(t, scheme, r.URL.Scheme)
					assert.Equal(t, address, r.URL.Host)
					return &url.URL{
						Scheme: "http", Host: "proxy.example:3128",
						User: url.UserPassword("user", "secret"),
					}, nil
				}}
			var nc net.Conn
			var err error
			if scheme == "https" {
				nc, err = d.WebSocket(t.Context(), hubURL, nil)
			} else {
				nc, err = d.TLS(t.Context(), hubMQTT)
			}
			require.NoError(t, err, scheme)
			c, err := Connect(t.Context(), nc, Options{ClientID: "dev1"})
			require.NoError(t, err, scheme)
			require.NoError(t, c.Publish(t.Context(), "a", 1, []byte("through")))
			require.NoError(t, c.Close())
			assert.Equal(t, []string{"proxy.example:3128", address}, w.dialed())
			assert.Equal(t, address, asked.Host)
		})
	}
}

func TestAProxysRefusalIsNotTheHubs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		w.serve["proxy.example:3128"] = tunnels(w, func(*http.Request) *http.Response {
			return &http.Response{
				StatusCode: 407, ProtoMajor: 1, ProtoMinor: 1,
				Body:          io.NopCloser(strings.NewReader(strings.Repeat("x", 5000))),
				ContentLength: 5000, Header: http.Header{"Proxy-Authenticate": {"Basic"}},
			}
		})
		proxy := &url.URL{
			Scheme: "http", Host: "proxy.example:3128",
			User: url.UserPassword("user", "canary-secret"),
		}
		d := &Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Proxy: http.ProxyURL(proxy)}
		_, overWeb := d.WebSocket(t.Context(), hubURL, nil)
		_, overMQTT := d.TLS(t.Context(), hubMQTT)
		for _, err := range []error{overWeb, overMQTT} {
			refused, ok := errors.AsType[*UpgradeError](err)
			require.True(t, ok, "%v", err)
			assert.True(t, refused.Proxy)
			assert.Equal(t, 407, refused.Status)
			assert.Len(t, refused.Body, maxBody)
			assert.NotContains(t, err.Error(), "canary")
		}
	})
}

func TestTheProxysSecretsStayOutOfErrors(t *testing.T) {
	w := newWorld(t)
	for _, proxy := range []func(*http.Request) (*url.URL, error){
		http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128", User: url.UserPassword("user", "canary-secret")}),
		http.ProxyURL(&url.URL{Scheme: "ftp", Host: "proxy.example:3128", User: url.UserPassword("user", "canary-secret")}),
		func(*http.Request) (*url.URL, error) {
			return nil, errors.New(`invalid proxy address "http://user:canary-secret@:x"`)
		},
	} {
		_, err := (&Dialer{DialContext: w.dial, Proxy: proxy}).WebSocket(t.Context(), hubURL, nil)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "canary")
	}
}
