// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"bytes"
	"encoding/base64"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/oneline"
)

// Whatever an HTTP proxy answers to CONNECT, there is a tunnel after a status 2xx alone. Any other
// answer is one line that shows neither the password nor what the proxy wrote raw, and no more is
// read of it than a header may have.
func FuzzConnect(f *testing.F) {
	const ok = "HTTP/1.1 200 Connection established\r\n\r\n"
	for _, said := range []string{
		ok, "HTTP/1.0 200 OK\r\nVia: 1.1 site\r\n\r\nwhat the server says", "HTTP/1.1 204 \r\n\r\n",
		"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"a\"\r\n" +
			"Content-Length: 4\r\n\r\nno: ",
		"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok, "HTTP/1.1 503 \r\n\r\n" + strings.Repeat("x", 4<<10),
		"HTTP/1.1 200 OK\r\nno colon\x1b[2J\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "<html>",
		"\x05\x00",
		"HTTP/1.1 200 OK\r\n continued\r\n\r\n",
		"HTTP/1.1 403 Forbidden\r\nContent-Length: -1\r\n\r\n",
	} {
		f.Add([]byte(said), true)
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\nX: "), false)
	f.Fuzz(func(t *testing.T, said []byte, known bool) {
		proxy := &url.URL{Scheme: "http", Host: "proxy.example"}
		if known {
			proxy.User = url.UserPassword("user", "canary-password")
		}
		basic := base64.StdEncoding.EncodeToString([]byte("user:canary-password"))
		peer := scripted{says: bytes.NewReader(said)}
		err := (&Dialer{UserAgent: "device"}).requestTunnel(peer, proxy, "hub.example:8883")
		assert.LessOrEqual(t, len(said)-peer.says.Len(), maxProxyHeader)
		if err == nil {
			version, rest, _ := strings.Cut(string(said), " ")
			assert.True(t, strings.HasPrefix(version, "HTTP/"), "%q", version)
			status, err := strconv.Atoi(strings.TrimLeft(rest, " ")[:3])
			require.NoError(t, err, "%q", rest)
			assert.Equal(t, 2, status/100)
			return
		}
		text := err.Error()
		assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
		assert.Less(t, len(text), 1000)
		if echo := strings.ToLower(string(said)); !strings.Contains(echo, "canary") {
			assert.NotContains(t, text, "canary")
			assert.NotContains(t, text, basic)
		}
		if refused, ok := err.(*RefusedError); ok { //nolint:errorlint // it is returned as such
			assert.NotEqual(t, 2, refused.Status/100)
			assert.LessOrEqual(t, len(refused.Body), maxRefusal)
			assert.NotNil(t, refused.Header)
		}
	})
}
