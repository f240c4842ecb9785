// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/gorilla/websocket"

	"github.com/rehome-iot/rehome/internal/dial"
	"github.com/rehome-iot/rehome/internal/oneline"
)

const (
	maxBody   = 1 << 10 // what the WebSocket library keeps of a refusal's body
	maxQuoted = 200     // characters of an error that quotes a response
)

// WebSocket connects to a wss URL with the subprotocol mqtt, through a proxy if there is one for
// it. A response other than 101 is an *UpgradeError; when ctx ends first the error is its cause.
// Secrets belong in header, never in rawURL.
func (d *Dialer) WebSocket(
	ctx context.Context, rawURL string, header http.Header,
) (net.Conn, error) {
	ctx, cancel := d.bound(ctx)
	defer cancel()
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("mqtt: WebSocket address: %w", err)
	}
	if u.Scheme != "wss" || u.Host == "" {
		return nil, fmt.Errorf("mqtt: %q is not a wss URL", u.Redacted())
	}
	// The network connection is closed from below when ctx ends: the handshake's own reads and
	// writes know deadlines only.
	release := func() bool { return true }
	up := &websocket.Dialer{
		Subprotocols: []string{"mqtt"},
		NetDialTLSContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			nc, err := d.open(ctx, d.webConfig(), &url.URL{Scheme: "https", Host: u.Host})
			if err == nil {
				release = context.AfterFunc(ctx, func() { dial.Abort(nc) })
			}
			return nc, err
		},
	}
	ws, response, err := up.DialContext(ctx, rawURL, header)
	if !release() && err == nil {
		_ = ws.Close()
		return nil, context.Cause(ctx)
	}
	switch {
	case errors.Is(err, websocket.ErrBadHandshake) && response != nil &&
		response.StatusCode >= 100: // 000 is none, and 0 says that there is no response
		body, _ := io.ReadAll(io.LimitReader(response.Body, maxBody))
		return nil, &UpgradeError{Status: response.StatusCode, Header: response.Header, Body: body}
	case err != nil:
		return nil, dial.Cause(ctx, oneline.Cut(err, maxQuoted))
	}
	// Who chooses what was not offered is not to be talked to (RFC 6455 §4.1); the library would
	// begin to compress.
	if got := ws.Subprotocol(); got != "" && got != "mqtt" ||
		len(response.Header["Sec-Websocket-Extensions"]) > 0 {
		_ = ws.Close()
		return nil, &ProtocolError{
			Reason: "the server chose a WebSocket extension, or another subprotocol than mqtt",
		}
	}
	return &wsConn{ws: ws}, nil
}

// webConfig is the base of the TLS configuration for WebSocket. The front end of port 443 serves
// several protocols, and may ask for a client certificate by TLS 1.2 renegotiation once it has seen
// the path; a client that has none must be able to say so.
func (d *Dialer) webConfig() *tls.Config {
	config := &tls.Config{}
	if d.TLSConfig != nil {
		config = d.TLSConfig.Clone()
	}
	config.Renegotiation = tls.RenegotiateOnceAsClient
	return config
}

// wsConn is a WebSocket connection as a stream of bytes: MQTT packets may span messages and share
// them.
type wsConn struct {
	ws     *websocket.Conn
	reader io.Reader // of the current message
}

func (c *wsConn) Read(p []byte) (n int, err error) {
	for n == 0 && err == nil {
		if c.reader == nil {
			var kind int
			kind, c.reader, err = c.ws.NextReader()
			if err == nil && kind != websocket.BinaryMessage {
				// MQTT 3.1.1 §6
				c.reader = nil
				err = &ProtocolError{Reason: "a WebSocket message that is not binary"}
			}
			continue
		}
		n, err = c.reader.Read(p)
		if err == io.EOF { //nolint:errorlint // io.Reader's contract is the bare value
			c.reader, err = nil, nil
		}
	}
	return n, oneline.Cut(err, maxQuoted) // a close frame may give a reason, within a message too
}

// Write sends p as one message, since not every server puts packets together again that were sent
// as several.
func (c *wsConn) Write(p []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (c *wsConn) Close() error {
	frame := websocket.FormatCloseMessage(websocket.CloseNormalClosure, "")
	_ = c.ws.WriteControl(websocket.CloseMessage, frame, time.Now().Add(closeTimeout))
	return c.ws.Close()
}

func (c *wsConn) NetConn() net.Conn                  { return c.ws.NetConn() }
func (c *wsConn) LocalAddr() net.Addr                { return c.ws.LocalAddr() }
func (c *wsConn) RemoteAddr() net.Addr               { return c.ws.RemoteAddr() }
func (c *wsConn) SetReadDeadline(t time.Time) error  { return c.ws.SetReadDeadline(t) }
func (c *wsConn) SetWriteDeadline(t time.Time) error { return c.ws.SetWriteDeadline(t) }

func (c *wsConn) SetDeadline(t time.Time) error {
	_ = c.ws.SetWriteDeadline(t) // which only notes it
	return c.ws.SetReadDeadline(t)
}
