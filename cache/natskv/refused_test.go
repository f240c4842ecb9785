// SPDX-License-Identifier: Apache-2.0

package natskv_test

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/natskv"
)

// A refuser is what a client sees of a server that refuses users while it is told to.
type refuser struct {
	net.Listener
	refusing atomic.Bool
	refused  atomic.Int32
	last     atomic.Pointer[net.Conn]
}

func newRefuser(t *testing.T) *refuser {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &refuser{Listener: l}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go b.serve(c)
		}
	}()
	return b
}

// serve speaks as much of the client protocol as a connection needs to be made and kept.
func (b *refuser) serve(c net.Conn) {
	defer c.Close()
	fmt.Fprint(c, `INFO {"server_id":"B","version":"2.12.0","proto":1,"max_payload":1048576,`+
		`"headers":true,"auth_required":true}`+"\r\n")
	for lines := bufio.NewScanner(c); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "PING") {
			continue // CONNECT, and what is subscribed
		}
		if b.refusing.Load() {
			b.refused.Add(1)
			fmt.Fprint(c, "-ERR 'Authorization Violation'\r\n")
			return
		}
		b.last.Store(&c)
		fmt.Fprint(c, "PONG\r\n")
	}
}

// Users are changed on servers one by one, and a service that servers ask about users may be away.
func TestAConnectionOutlivesServersThatRefuseItsUserForAWhile(t *testing.T) {
	t.Parallel()
	for name, atStart := range map[string]bool{"at the start": true, "later": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newRefuser(t)
			b.refusing.Store(atStart)
			var told atomic.Int32 // refusals, once it was connected
			nc, err := nats.Connect("nats://user:secret@"+b.Addr().String(), append(
				natskv.ConnOptions(), nats.ReconnectWait(10*time.Millisecond),
				nats.ReconnectJitter(0, 0),
				nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
					if errors.Is(err, nats.ErrAuthorization) {
						told.Add(1)
					}
				}))...)
			require.NoError(t, err)
			defer nc.Close()
			if !atStart {
				require.Eventually(t, nc.IsConnected, time.Minute, 10*time.Millisecond)
				b.refusing.Store(true)
				require.NoError(t, (*b.last.Load()).Close())
			}
			require.Eventually(t, func() bool { return b.refused.Load() >= 4 },
				time.Minute, 10*time.Millisecond, "it goes on")
			b.refusing.Store(false)
			require.Eventually(t, nc.IsConnected, time.Minute, 10*time.Millisecond)
			assert.False(t, nc.IsClosed())
			if !atStart {
				assert.Eventually(t, func() bool { return told.Load() >= 2 },
					time.Minute, 10*time.Millisecond, "it was said")
			}
		})
	}
}
