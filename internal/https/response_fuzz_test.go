// SPDX-License-Identifier: Apache-2.0

package https

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// Whatever a server says, it is a whole response or one clear error, it costs no more memory than a
// header and a body may have, and a connection is kept only where the next response cannot begin
// with what is left of this one.
func FuzzResponse(f *testing.F) {
	for _, said := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\n\r\n{}",
		"HTTP/1.1 202 Accepted\r\nRetry-After: 3\r\nTransfer-Encoding: chunked\r\n\r\n" +
			"2\r\n{}\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 \r\nA: b\r\n\r\nHTTP/1.1 204 \r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sunday, 01-Mar-26 12:00:00 GMT\r\n\r\n{}",
		"HTTP/1.1 000 \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 +99 \r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\n\r\n", "HTTP/1.0 401 no\r\n\r\nuntil the end",
		"HTTP/1.1 429 \r\nContent-Length: 9\r\n\r\ncut",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" +
			"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
		"HTTP/1.1 200 OK\r\nx\x1b[2J\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "\x16\x03\x01",
		"",
	} {
		f.Add([]byte(said), false)
	}
	f.Add([]byte("HTTP/1.1 405 No\r\nDate: Sun, 01 Mar 2026 12:00:00 GMT\r\n"+
		"Content-Length: 7\r\n\r\n"), true)
	f.Fuzz(func(t *testing.T, said []byte, head bool) {
		request := &http.Request{Method: http.MethodPut}
		if head {
			request.Method = http.MethodHead
		}
		from := bytes.NewReader(said)
		l := &link{limit: limited{from: from, left: maxHeader}}
		l.reader = bufio.NewReader(&l.limit)
		r, whole, err := l.receive(request)
		assert.LessOrEqual(t, len(r.Body), MaxBody)
		if err != nil {
			assert.False(t, whole)
			text := err.Error()
			assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
			assert.Less(t, len(text), 1000)
			assert.False(t, errors.Is(err, io.EOF), "%v", err)
			if _, ok := errors.AsType[*BodyError](err); !ok {
				assert.Zero(t, r, "no response")
				return
			}
		}
		assert.False(t, interim(r.Status), "%d", r.Status)
		assert.GreaterOrEqual(t, r.Status, 100)
		assert.Equal(t, r.Header.Get("Retry-After"), r.RetryAfter)
		assert.Equal(t, r.Header.Get("X-Ms-Request-Id"), r.RequestID)
		if !r.Date.IsZero() {
			assert.Equal(t, time.UTC, r.Date.Location())
			said, err := http.ParseTime(r.Header.Get("Date"))
			require.NoError(t, err)
			assert.True(t, said.Equal(r.Date))
		}
		for name := range r.Header {
			assert.False(t, strings.ContainsAny(name, "\r\n:"), "%q", name)
		}
		if whole && len(said) < 4<<10 { // all of it is in the reader's buffer
			assert.Zero(t, l.reader.Buffered()+from.Len(), "what is left of it")
		}
	})
}
