// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// Subprotocol is the WebSocket subprotocol of MQTT. Some clients ask for it in capitals.
const Subprotocol = "mqtt"

// WebSocket turns an HTTP request into a connection that carries MQTT in binary frames; a packet
// may be split over frames, and a frame may hold several. On an error the request has been answered
// already. The caller owns the connection, and the handler that called WebSocket must not return
// before it is done with it.
func WebSocket(w http.ResponseWriter, r *http.Request) (net.Conn, error) {
	wanted := ""
	for _, p := range websocket.Subprotocols(r) {
		if strings.EqualFold(p, Subprotocol) {
			wanted = p
			break
		}
	}
	if websocket.IsWebSocketUpgrade(r) && wanted == "" &&
		slices.ContainsFunc(websocket.Subprotocols(r), isAMQP) {
		http.Error(w, ErrAMQP.Error(), http.StatusNotImplemented)
		return nil, &Error{Op: "upgrade", Err: ErrAMQP}
	}
	if websocket.IsWebSocketUpgrade(r) && wanted == "" {
		http.Error(w, "subprotocol mqtt required", http.StatusBadRequest)
		return nil, &Error{
			Op:  "upgrade",
			Err: fmt.Errorf("subprotocol %q", r.Header.Get("Sec-WebSocket-Protocol")),
		}
	}
	up := websocket.Upgrader{
		Subprotocols: []string{wanted},
		CheckOrigin:  func(*http.Request) bool { return true }, // devices are no browsers
	}
	response := http.Header{}
	if d := w.Header().Get("Date"); d != "" {
		response.Set("Date", d)
	}
	var carrier *wsCarrier
	ws, err := up.Upgrade(hijacker{w, &carrier}, r, response)
	if err != nil {
		return nil, &Error{Op: "upgrade", Err: err}
	}
	return &wsConn{wsCarrier: carrier, ws: ws}, nil
}

// isAMQP reports whether a subprotocol is AMQP's: AMQPWSB10 is what the services take.
func isAMQP(p string) bool {
	return strings.EqualFold(p, "AMQPWSB10") || strings.EqualFold(p, "amqp")
}

// hijacker puts a wsCarrier between the library and the connection it takes over.
type hijacker struct {
	http.ResponseWriter
	carrier **wsCarrier
}

func (h hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	nc, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	*h.carrier = &wsCarrier{Conn: nc}
	return *h.carrier, rw, nil
}

// wsCarrier is the connection under a WebSocket. The library sets the write deadline before each
// frame, from a field that must not change while it writes; a session must be able to break a write
// under way. So the session's deadline is kept here, and stands wherever the library has none of
// its own.
type wsCarrier struct {
	net.Conn
	mu      sync.Mutex
	session time.Time
}

// SetWriteDeadline is the library's: a time of its own for a pong or close frame, none for data.
func (c *wsCarrier) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.IsZero() {
		t = c.session
	}
	return c.Conn.SetWriteDeadline(t)
}

func (c *wsCarrier) setSessionDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.session = t
	return c.Conn.SetWriteDeadline(t)
}

// wsConn is a WebSocket as a stream of bytes. Addresses and closing are those of the connection
// beneath it.
type wsConn struct {
	*wsCarrier
	ws    *websocket.Conn
	frame io.Reader // the frame being read, nil between two
	dead  error     // why reading ended; the library must not be asked again
}

// NetConn returns the connection beneath.
func (c *wsConn) NetConn() net.Conn { return c.Conn }

func (c *wsConn) Read(b []byte) (int, error) {
	for c.dead == nil {
		if c.frame == nil {
			kind, frame, err := c.ws.NextReader()
			if err != nil {
				c.dead = streamError(err)
				break
			}
			if kind != websocket.BinaryMessage {
				c.dead = malformed("read", "WebSocket text frame")
				break
			}
			c.frame = frame
		}
		n, err := c.frame.Read(b)
		if err == io.EOF {
			c.frame, err = nil, nil
		}
		if err != nil {
			c.dead = streamError(err)
		}
		if n > 0 || len(b) == 0 {
			return n, nil
		}
	}
	return 0, c.dead
}

// streamError gives a close frame the meaning that the end of a stream has.
func streamError(err error) error {
	if websocket.IsCloseError(
		err, websocket.CloseNormalClosure, websocket.CloseGoingAway,
		websocket.CloseNoStatusReceived,
	) {
		return io.EOF
	}
	return oneline.Cut(err, maxQuoted)
}

// maxQuoted is how much is told of an error that quotes the client, in characters: its close frame
// may give a reason.
const maxQuoted = 200

func (c *wsConn) Write(b []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// SetWriteDeadline sets when a Write under way or to come fails.
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.setSessionDeadline(t) }

// SetDeadline sets both deadlines.
func (c *wsConn) SetDeadline(t time.Time) error {
	if err := c.SetWriteDeadline(t); err != nil {
		return err
	}
	return c.SetReadDeadline(t)
}
