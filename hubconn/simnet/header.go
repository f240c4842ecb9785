// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"sync"
)

// maxHead is how much of a request's head is kept: as much as the server reads of one.
const maxHead = 68 << 10

// SentHeader returns the header of a request to a [Site] with its names as the client wrote them.
// Names of headers have no case (RFC 9110 §5.1), and net/http writes them all one way; but IoT Hub
// carries names of application properties in headers, and keeps their case. Where the names are not
// known, as those of a request that was sent before the response to the one ahead of it, it returns
// r.Header.
func SentHeader(r *http.Request) http.Header {
	c, ok := r.Context().Value(webConnKey{}).(*webConn)
	if !ok {
		return r.Header
	}
	first, rest, _ := strings.Cut(c.requestHead(), "\n")
	if !strings.HasSuffix(strings.TrimSpace(first), " "+r.RequestURI+" "+r.Proto) {
		return r.Header
	}
	header := make(http.Header)
	for line := range strings.Lines(rest) {
		if name, value, ok := strings.Cut(line, ":"); ok {
			header[name] = append(header[name], strings.TrimSpace(value))
		}
	}
	return header
}

// webConn is a connection of the HTTPS port that remembers the head of the request being served.
type webConn struct {
	*tls.Conn

	mu    sync.Mutex
	head  []byte
	whole bool // head is complete: what follows is a body
}

type webConnKey struct{}

// withConn makes the connection of a request known to SentHeader.
func withConn(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, webConnKey{}, nc)
}

func (c *webConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.record(b[:n])
	return n, err
}

func (c *webConn) record(b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.whole || len(b) == 0 {
		return
	}
	// The end may lie across two reads.
	from := max(0, len(c.head)-3)
	c.head = append(c.head, b...)
	for _, end := range []string{"\n\r\n", "\n\n"} {
		if at := bytes.Index(c.head[from:], []byte(end)); at >= 0 {
			c.head, c.whole = c.head[:from+at+1], true
			return
		}
	}
	if len(c.head) > maxHead {
		c.head, c.whole = nil, true
	}
}

// next forgets a request that is over. The server has not begun to read the next then, but for the
// first byte of its method that a watch for the connection's end may have come upon.
func (c *webConn) next() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.whole = nil, false
}

func (c *webConn) requestHead() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.whole {
		return ""
	}
	return string(c.head)
}
