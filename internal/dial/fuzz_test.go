// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"bytes"
	"net"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
)

// scripted is a peer that says what it says, whatever it is told.
type scripted struct {
	net.Conn
	says *bytes.Reader
}

func (s scripted) Read(b []byte) (int, error)  { return s.says.Read(b) }
func (s scripted) Write(b []byte) (int, error) { return len(b), nil }

// What follows a SOCKS proxy's reply is the server's, so no byte of it may be read.
func FuzzSOCKS(f *testing.F) {
	accepted := []byte{5, 0, 5, 0, 0, 1, 10, 0, 0, 1, 4, 56}
	f.Add(accepted, false)
	f.Add([]byte{5, 2, 1, 0, 5, 0, 0, 3, 1, 'h', 4, 56}, true)
	f.Add(append([]byte{5, 0, 5, 0, 0, 4}, make([]byte, 18)...), false)
	f.Add([]byte{5, 0, 5, 3, 0, 1}, false)
	f.Add([]byte{5, 0xff}, true)
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false)
	f.Fuzz(func(t *testing.T, said []byte, known bool) {
		proxy := &url.URL{Scheme: "socks5", Host: "proxy.example"}
		if known {
			proxy.User = url.UserPassword("user", "secret")
		}
		const server = "what the server says"
		peer := scripted{says: bytes.NewReader(append(bytes.Clone(said), server...))}
		err := requestSOCKS(peer, proxy, "hub.example:8883")
		if err != nil {
			assert.NotContains(t, err.Error(), "secret")
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		whole := requestSOCKS(scripted{says: bytes.NewReader(said)}, proxy, "hub.example:8883")
		if whole == nil { // the reply ends within what was said
			assert.GreaterOrEqual(t, peer.says.Len(), len(server))
		}
	})
}
