// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// site is an HTTP server of one connection, in memory, that serves MQTT over WebSocket.
type site struct {
	t      *testing.T
	near   net.Conn
	served chan error // what Serve returned
	failed chan error // what WebSocket returned
}

// single is a listener of one connection.
type single struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *single) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *single) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *single) Addr() net.Addr { return memnet.Addr("server:80") }

// within runs f in a bubble with a site.
func within(t *testing.T, v *service, f func(s *site)) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe("client:1", "server:80")
		s := &site{t: t, near: near, served: make(chan error, 1), failed: make(chan error, 1)}
		l := &single{conns: make(chan net.Conn, 1), closed: make(chan struct{})}
		l.conns <- far
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Date", "Sat, 01 Jan 2000 00:00:00 GMT")
				nc, err := WebSocket(w, r)
				if err != nil {
					s.failed <- err
					return
				}
				s.served <- Serve(context.WithoutCancel(r.Context()), nc, v, Options{})
			}),
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(l) })
		f(s)
		_ = near.Close()
		_ = server.Close()
		serving.Wait()
	})
}

func (s *site) dial(protocols ...string) (*websocket.Conn, *http.Response, error) {
	d := websocket.Dialer{
		Subprotocols: protocols,
		NetDialContext: func(context.Context, string, string) (net.Conn, error) {
			return s.near, nil
		},
	}
	return d.Dial("ws://server/$iothub/websocket", nil)
}

// encode returns packets as bytes.
func encode(t *testing.T, ps ...packets.ControlPacket) []byte {
	near, far := memnet.Pipe("", "")
	for _, p := range ps {
		require.NoError(t, p.Write(near))
	}
	require.NoError(t, near.Close())
	b, err := io.ReadAll(far)
	require.NoError(t, err)
	return b
}

func receive(t *testing.T, ws *websocket.Conn) packets.ControlPacket {
	kind, r, err := ws.NextReader()
	require.NoError(t, err)
	require.Equal(t, websocket.BinaryMessage, kind)
	p, err := packets.ReadPacket(r)
	require.NoError(t, err)
	return p
}

func TestPacketsMayBeSplitOverFramesAndShareOne(t *testing.T) {
	for _, protocol := range []string{"mqtt", "MQTT"} {
		within(t, &service{}, func(s *site) {
			ws, response, err := s.dial("mqttv3.1", protocol)
			require.NoError(t, err)
			assert.Equal(t, protocol, ws.Subprotocol(), "named as the client spells it")
			assert.Equal(t, "Sat, 01 Jan 2000 00:00:00 GMT", response.Header.Get("Date"))
			bytes := encode(
				t, connectPacket(), publishPacket("t", 1, 7, "hello"), subscribePacket(8, 1, "a"),
			)
			for _, b := range bytes[:20] { // byte by byte, an empty frame now and then
				require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, []byte{b}))
				require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, nil))
			}
			require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, bytes[20:]))
			assert.IsType(t, &packets.ConnackPacket{}, receive(t, ws))
			assert.Equal(t, uint16(7), receive(t, ws).(*packets.PubackPacket).MessageID)
			assert.Equal(t, uint16(8), receive(t, ws).(*packets.SubackPacket).MessageID)
			require.NoError(t, ws.WriteMessage(
				websocket.BinaryMessage, encode(t, packets.NewControlPacket(packets.Disconnect)),
			))
			assert.NoError(t, <-s.served)
		})
	}
}

func TestWebSocketPingIsAnsweredAfterALongSilence(t *testing.T) {
	within(t, &service{}, func(s *site) {
		ws, _, err := s.dial("mqtt")
		require.NoError(t, err)
		require.NoError(t, ws.WriteMessage(websocket.BinaryMessage, encode(t, connectPacket())))
		receive(t, ws)
		time.Sleep(time.Hour) // the deadline of the last packet is long past
		ponged := false
		ws.SetPongHandler(func(string) error { ponged = true; return nil })
		require.NoError(t, ws.WriteMessage(websocket.PingMessage, []byte("hi")))
		require.NoError(t, ws.WriteMessage(
			websocket.BinaryMessage, encode(t, packets.NewControlPacket(packets.Pingreq)),
		))
		assert.IsType(t, &packets.PingrespPacket{}, receive(t, ws))
		assert.True(t, ponged)
	})
}

func TestWebSocketEnds(t *testing.T) {
	for name, test := range map[string]struct {
		kind int
		data []byte
		want error
	}{
		"close frame":           {websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), io.EOF},
		"close frame, no code":  {websocket.CloseMessage, nil, io.EOF},
		"text frame":            {websocket.TextMessage, []byte("hello"), ErrMalformed},
		"garbage in the stream": {websocket.BinaryMessage, []byte("hello, I am not MQTT"), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			within(t, &service{}, func(s *site) {
				ws, _, err := s.dial("mqtt")
				require.NoError(t, err)
				require.NoError(t, ws.WriteMessage(test.kind, test.data))
				assert.ErrorIs(t, <-s.served, test.want)
			})
		})
	}
	t.Run("garbage instead of frames", func(t *testing.T) {
		within(t, &service{}, func(s *site) {
			_, _, err := s.dial("mqtt")
			require.NoError(t, err)
			_, err = s.near.Write([]byte("this is no frame at all"))
			require.NoError(t, err)
			assert.Error(t, <-s.served)
		})
	})
	t.Run("closed by the server while it writes to a client that does not read",
		func(t *testing.T) {
			sessions := make(chan *Session, 1)
			v := &service{connected: func(ctx context.Context, s *Session) error {
				for {
					if len(sessions) == 0 {
						sessions <- s
					}
					if _, err := s.Publish(
						ctx, Message{Topic: "flood", Payload: make([]byte, 10000)},
					); err != nil {
						return err
					}
				}
			}}
			within(t, v, func(s *site) {
				ws, _, err := s.dial("mqtt")
				require.NoError(t, err)
				require.NoError(
					t, ws.WriteMessage(websocket.BinaryMessage, encode(t, connectPacket())),
				)
				synctest.Wait()
				start := time.Now()
				(<-sessions).Close(nil)
				assert.ErrorIs(t, <-s.served, net.ErrClosed)
				assert.Zero(t, time.Since(start))
			})
		})
}

func TestRequestsThatAreNoUpgradeAreRefused(t *testing.T) {
	within(t, &service{}, func(s *site) {
		_, response, err := s.dial("wamp")
		require.Error(t, err)
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.ErrorContains(t, <-s.failed, `mqtt upgrade: subprotocol "wamp"`)
	})
	for _, subprotocol := range []string{"AMQPWSB10", "amqp"} {
		within(t, &service{}, func(s *site) {
			_, response, err := s.dial(subprotocol)
			require.Error(t, err)
			assert.Equal(t, http.StatusNotImplemented, response.StatusCode)
			text, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			assert.Contains(t, string(text), "AMQP is not simulated")
			assert.ErrorIs(t, <-s.failed, ErrAMQP)
		})
	}
	within(t, &service{}, func(s *site) {
		request, err := http.NewRequest(http.MethodGet, "http://server/", nil)
		require.NoError(t, err)
		transport := &http.Transport{
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				return s.near, nil
			},
		}
		response, err := transport.RoundTrip(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusBadRequest, response.StatusCode)
		assert.Error(t, <-s.failed)
		transport.CloseIdleConnections()
	})
}
