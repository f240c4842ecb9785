// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// endless is a listener that everybody wants to reach.
type endless struct{ accepted int }

func (e *endless) Accept() (net.Conn, error) {
	e.accepted++
	_, far := memnet.Pipe("client:1", "gateway:1883")
	return far, nil
}
func (e *endless) Close() error   { return nil }
func (e *endless) Addr() net.Addr { return memnet.Addr("gateway:1883") }

func TestAListenerHasSoManyConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		inner, full := &endless{}, 0
		l := Bound(inner, 3, func() { full++ })
		conns, ended := make(chan net.Conn, 100), make(chan error)
		go func() {
			for {
				nc, err := l.Accept()
				if err != nil {
					ended <- err
					return
				}
				conns <- nc
			}
		}()
		synctest.Wait()
		assert.Equal(t, 3, inner.accepted)
		assert.Equal(t, 1, full)
		nc := <-conns
		require.NoError(t, nc.Close())
		_ = nc.Close() // which makes no more room
		synctest.Wait()
		assert.Equal(t, 4, inner.accepted)
		assert.Equal(t, 1, full, "said once a minute")
		time.Sleep(2 * time.Minute)
		require.NoError(t, (<-conns).Close())
		synctest.Wait()
		assert.Equal(t, 5, inner.accepted)
		assert.Equal(t, 2, full)
		require.NoError(t, l.Close())
		assert.ErrorIs(t, <-ended, net.ErrClosed)
	})
}
