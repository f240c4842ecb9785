// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// namer answers with the names of the headers that begin with X-, as they were sent.
type namer struct{}

func (namer) ServeMQTT(nc net.Conn) { _ = nc.Close() }

func (namer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	header := SentHeader(r)
	maps.DeleteFunc(header, func(name string, _ []string) bool {
		return !strings.HasPrefix(strings.ToLower(name), "x-")
	})
	for _, name := range slices.Sorted(maps.Keys(header)) {
		fmt.Fprintf(w, "%s=%s ", name, strings.Join(header[name], ","))
	}
	if r.TLS != nil {
		fmt.Fprint(w, r.TLS.ServerName)
	}
}

func TestNamesOfHeadersAreKnownAsTheyWereSent(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", namer{})
		raw, err := n.DialContext(t.Context(), "tcp", "a.example:443")
		require.NoError(t, err)
		cfg := n.TLSConfig()
		cfg.ServerName = "a.example"
		nc := tls.Client(raw, cfg)
		defer nc.Close()
		r := bufio.NewReader(nc)
		ask := func(pieces ...string) string {
			for _, piece := range pieces {
				_, err := io.WriteString(nc, piece)
				require.NoError(t, err)
			}
			response, err := http.ReadResponse(r, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			return string(body)
		}
		const host = "Host: a.example\r\n"
		assert.Equal(t, "X-RoomName=1 x-roomname=2,3 a.example", ask(
			"POST /x HTTP/1.1\r\n"+host+"X-RoomName: 1\r\nx-roomname: 2\r\nx-roomname:3\r\n",
			"Content-Length: 13\r\n\r", "\nX-Body: 1\r\n\r\n",
		))
		assert.Equal(t, "x-B= a.example", ask("GET /y?a=b HTTP/1.1\r\n"+host+"x-B:\r\n\r\n"))
		assert.Equal(t, "x-C=1 a.example", ask("GET / HTTP/1.1\n"+host+"x-C: 1\n\n"), "bare ends")
		long := strings.Repeat("x", 40<<10)
		assert.Equal(t, "x-D="+long+" a.example", ask(
			"GET / HTTP/1.1\r\n"+host+"x-D: "+long[:9], long[9:]+"\r\n\r\n",
		))
		// One that was sent ahead of its turn is served, with its names as net/http writes them.
		two := "GET /1 HTTP/1.1\r\n" + host + "x-Ee: 1\r\n\r\n"
		assert.Equal(t, "x-Ee=1 a.example", ask(two+strings.Replace(two, "/1 ", "/2 ", 1)))
		assert.Equal(t, "X-Ee=1 a.example", ask())
		early := strings.Replace(two, "\r\n\r\n", "\r\nContent-Length: 17\r\n\r\n", 1)
		assert.Equal(t, "x-Ee=1 a.example", ask(two+early))
		assert.Equal(t, "X-Ee=1 a.example", ask("body\r\nx-Ee: 2\r\n\r\n"))
		assert.Equal(t, "x-Ff=1 a.example", ask(strings.Replace(two, "x-Ee", "x-Ff", 1)))
	})
}
