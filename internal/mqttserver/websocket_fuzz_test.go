// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// taken is a response whose connection can be taken over, as that of a server is.
type taken struct {
	*httptest.ResponseRecorder
	nc net.Conn
}

func (w taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return w.nc, bufio.NewReadWriter(bufio.NewReader(w.nc), bufio.NewWriter(w.nc)), nil
}

// Whatever frames a client sends, the stream is the payload of its binary messages up to the first
// frame that a client may not send, as a second reader of RFC 6455 sees it, and then it ends, by
// one line.
func FuzzWebSocketFrames(f *testing.F) {
	const mask = "\x01\x02\x03\x04"
	for _, frames := range []string{
		"\x82\x82" + mask + "\x11\x02", "\x82\x80" + mask + "\x88\x80" + mask, // then the end
		"\x02\x81" + mask + "a\x89\x81" + mask + "p\x80\x81" + mask + "b", // a ping in between
		"\x82\x02ab", "\x81\x81" + mask + "a", "\xc2\x81" + mask + "a", "\x83\x80" + mask,
		"\x80\x81" + mask + "a", "\x02\x80" + mask + "\x82\x80" + mask, // what continues nothing
		"\x82\xfe\x00\x03" + mask + "abc",
		"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x03" + mask + "abc",
		"\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff" + mask, "\x89\xfe\x00\x7e" + mask,
		"\x09\x80" + mask, "\x88\x82" + mask + "\x02\xea", "\x88\x82" + mask + "\x02\xef",
		"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" +
			mask + "all of what was announced", "\x82",
		// together more than a message can have
		"\x02\x81" + mask + "a\x80\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + mask + "bc",
	} {
		f.Add([]byte(frames))
	}
	f.Fuzz(func(t *testing.T, frames []byte) {
		near, far := memnet.Pipe("client:1", "server:80")
		go func() { _, _ = near.Write(frames) }()
		go func() { _, _ = io.Copy(io.Discard, near) }() // the upgrade's answer, and pongs
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for name, value := range map[string]string{
			"Connection": "upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13",
			"Sec-Websocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==", "Sec-Websocket-Protocol": "MQTT",
		} {
			r.Header.Set(name, value)
		}
		nc, err := WebSocket(taken{
			httptest.NewRecorder(), ending{far, io.LimitReader(far, int64(len(frames)))},
		}, r)
		require.NoError(t, err)
		got, err := io.ReadAll(nc)
		want, whole := payloads(frames)
		assert.Equal(t, string(want), string(got))
		assert.Equal(t, whole, err == nil, "%v", err)
		if err != nil {
			assert.Equal(t, oneline.Of(err.Error(), 300), err.Error(), "one line of what prints")
		}
		_, again := nc.Read(make([]byte, 1))
		assert.Error(t, again, "it stays ended")
		require.NoError(t, nc.Close())
		_ = near.Close()
	})
}

// ending is a connection whose client sends no more than from has.
type ending struct {
	net.Conn
	from io.Reader
}

func (c ending) Read(p []byte) (int, error) { return c.from.Read(p) }

// payloads reads the frames of a client (RFC 6455 §5.2): what its binary messages hold, and whether
// it said goodbye in the end. A message of 2^63 bytes and more is none, in one frame or in several.
func payloads(frames []byte) (data []byte, goodbye bool) {
	const continuation, binaryFrame, closeFrame = 0, 2, 8
	message := uint64(0) // how long the frames of the message are so far
	for open := false; len(frames) >= 2; {
		final, kind := frames[0]&0x80 != 0, frames[0]&0x0f
		reserved, masked, length := frames[0]&0x70 != 0, frames[1]&0x80 != 0, uint64(frames[1]&0x7f)
		control := kind >= closeFrame
		rest := frames[2:]
		switch {
		case reserved, !masked, control && (!final || length > 125),
			kind == continuation && !open, kind == binaryFrame && open,
			!strings.ContainsRune("\x00\x02\x08\x09\x0a", rune(kind)):
			return data, false
		case length == 126 && len(rest) >= 2:
			length, rest = uint64(binary.BigEndian.Uint16(rest)), rest[2:]
		case length == 127 && len(rest) >= 8:
			length, rest = binary.BigEndian.Uint64(rest), rest[8:]
		case length > 125:
			return data, false
		}
		if len(rest) < 4 || length >= 1<<63 {
			return data, false
		}
		mask, body := rest[:4], rest[4:]
		whole := uint64(len(body)) >= length
		if whole {
			body, frames = body[:length], body[length:]
		}
		if kind == continuation || kind == binaryFrame {
			if !open {
				message = 0
			}
			if message += length; message >= 1<<63 {
				return data, false
			}
			for i, b := range body {
				data = append(data, b^mask[i%4])
			}
			open = !final
		}
		if !whole {
			return data, false
		}
		if kind == closeFrame {
			if length < 2 {
				return data, true // without a code
			}
			reason := bytes.Clone(body[2:])
			for i := range reason {
				reason[i] ^= mask[(i+2)%4]
			}
			code := uint16(body[0]^mask[0])<<8 | uint16(body[1]^mask[1])
			return data, utf8.Valid(reason) && (code == 1000 || code == 1001)
		}
	}
	return data, false
}
