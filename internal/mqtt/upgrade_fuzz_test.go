// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// accepted stands in what a server says for the answer to the client's challenge (RFC 6455 §4.2.2),
// which no script can know.
const accepted = "{accept}"

// Whatever a server says to a WebSocket upgrade, and in frames behind it, there is a connection
// after a 101 that answers this very challenge alone, and it yields bytes that arrived, in order.
// Anything else is one clear error, without the credential.
func FuzzUpgrade(f *testing.F) {
	const (
		head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: " + accepted + "\r\n"
		mqtt = head + "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
	)
	for _, said := range []string{
		mqtt, head + "\r\n", mqtt + "\x82\x04\x20\x02\x00\x00", // a CONNACK
		mqtt + "\x02\x01\x20\x80\x03\x02\x00\x00\x88\x00", // in two frames, and the end
		mqtt + "\x89\x01x\x82\x00\x82\x01\xd0\x8a\x00",    // a ping, an empty one, a pong
		mqtt + "\x81\x01a", mqtt + "\x82\x84\x01\x02\x03\x04", // text; masked
		mqtt + "\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", mqtt + "\xc2\x01\x20",
		mqtt + "\x88\x02\x03\xe8",
		mqtt + "\x88\x06\x0f\x13\x1b[2J",          // a close frame with a reason
		mqtt + "\x02\x01a\x88\x06\x0f\x13\x1b[2J", // one within a message
		mqtt + "\x82\x08" + accepted,
		head + "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; " +
			"client_no_context_takeover\r\n\r\n" + "\xc2\x05\x4a\x4c\x4a\x06\x00",
		"HTTP/1.1 000 \r\n\r\n",
		head + "Sec-WebSocket-Protocol: amqp\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
			"Sec-WebSocket-Accept: bm90IHRoaXMgb25l\r\n\r\n",
		"HTTP/1.1 401 Unauthorized\r\niothub-errorcode: IotHubUnauthorizedAccess\r\n\r\n{}",
		"HTTP/1.1 503 \r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc",
		"HTTP/1.1 200 OK\r\nx\x1b\r\n\r\n", "",
	} {
		f.Add([]byte(said))
	}
	var ca *authority
	var certificate tls.Certificate
	f.Fuzz(func(t *testing.T, said []byte) {
		if ca == nil { // once a process: keys take time
			ca = newAuthority(t)
			certificate = ca.server(hub, time.Now().Add(time.Hour))
		}
		nc, err := upgradeTo(t, ca, certificate, said)
		if err != nil {
			assert.Nil(t, nc)
			text := err.Error()
			assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
			assert.Less(t, len(text), 1000)
			assert.NotContains(t, text, "canary")
			if refused, ok := errors.AsType[*UpgradeError](err); ok {
				assert.False(t, refused.Proxy)
				assert.GreaterOrEqual(t, refused.Status, 100)
				assert.LessOrEqual(t, len(refused.Body), maxBody)
			}
			return
		}
		defer nc.Close()
		reader := bufio.NewReader(bytes.NewReader(said))
		answer, err := http.ReadResponse(reader, &http.Request{Method: http.MethodGet})
		require.NoError(t, err)
		assert.Equal(t, accepted, answer.Header.Get("Sec-Websocket-Accept"))
		frames, err := io.ReadAll(reader)
		require.NoError(t, err)
		got, err := io.ReadAll(nc)
		if err != nil {
			text := err.Error()
			assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
		}
		if len(frames) > 0 && frames[0]&0x0f == websocket.TextMessage {
			assert.Empty(t, got)
		}
		for _, b := range got { // in order, and none that has not arrived
			at := bytes.IndexByte(frames, b)
			if !assert.GreaterOrEqual(t, at, 0, "%q", got) {
				return
			}
			frames = frames[at+1:]
		}
	})
}

// upgradeTo has the dialer reach a server that says the same to every request.
func upgradeTo(
	t *testing.T, ca *authority, certificate tls.Certificate, said []byte,
) (net.Conn, error) {
	serve := func(far net.Conn) {
		defer far.Close()
		server := tls.Server(far, &tls.Config{Certificates: []tls.Certificate{certificate}})
		r, err := http.ReadRequest(bufio.NewReader(server))
		if err != nil {
			return
		}
		sum := sha1.Sum([]byte(r.Header.Get("Sec-Websocket-Key") +
			"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		// Once: it may stand in a frame as well.
		_, _ = server.Write(bytes.Replace(
			said, []byte(accepted), []byte(base64.StdEncoding.EncodeToString(sum[:])), 1,
		))
		_ = server.Close()
	}
	trust := ca.trust()
	trust.CurvePreferences = []tls.CurveID{tls.CurveP256}
	return (&Dialer{
		TLSConfig: trust, Proxy: noProxy,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			near, far := memnet.Pipe("device:1", hubWeb)
			go serve(far)
			return near, nil
		},
	}).WebSocket(t.Context(), hubURL, http.Header{"Authorization": {"canary-token"}})
}
