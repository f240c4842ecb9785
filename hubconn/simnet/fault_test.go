// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFaultsMetByADial(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		dial := func(f Fault) error {
			n.SetFault("a.example", f)
			nc, err := open(n, "a.example")
			if err == nil {
				return nc.Close()
			}
			return err
		}
		require.NoError(t, dial(None))
		var dns *net.DNSError
		require.ErrorAs(t, dial(NameNotFound), &dns)
		assert.True(t, dns.IsNotFound)
		require.ErrorAs(t, dial(NameFailure), &dns)
		assert.True(t, dns.Temporary())
		assert.False(t, dns.IsNotFound)
		require.ErrorIs(t, dial(Refused), syscall.ECONNREFUSED)
		require.ErrorIs(t, dial(ResetOnAccept), syscall.ECONNRESET)
		require.NoError(t, dial(None))
		assert.Equal(
			t, 6, n.Dials("a.example"), "a dial that fails counts, a dial by socket counts once",
		)

		n.SetFault("nobody.example", Refused)
		_, err := open(n, "nobody.example")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED, "a name with a fault resolves without a site")
	})
}

func TestBlackholeAnswersNothing(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetFault("a.example", Blackhole)
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		start := time.Now()
		_, err := n.DialContext(ctx, "tcp", "a.example:8883")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 30*time.Second, time.Since(start))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())

		// The packets a dial sends again get through once the way is good.
		time.AfterFunc(time.Hour, func() { n.SetFault("a.example", None) })
		start = time.Now()
		nc, err := open(n, "a.example")
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
		require.NoError(t, nc.Close())
	})
}

func TestFaultsMetByAnotherProcess(t *testing.T) {
	n, err := Listen(ListenConfig{})
	require.NoError(t, err)
	defer n.Close()
	n.Handle("a.example", echo("a"))
	n.Handle("b.example", echo("b"))
	for i, f := range []Fault{NameNotFound, NameFailure, Refused, ResetOnAccept} {
		n.SetFault("a.example", f)
		_, err := shake(n, outside(t, n), "a.example")
		assert.ErrorIs(t, err, syscall.ECONNRESET, f)
		assert.Equal(t, i+1, n.Dials("a.example"))
	}
	n.SetFault("a.example", Blackhole)
	waiting := make(chan error, 1)
	go func() {
		nc, err := shake(n, outside(t, n), "a.example")
		if err == nil {
			err = nc.Close()
		}
		waiting <- err
	}()
	require.Eventually(t, func() bool {
		return n.Dials("a.example") == 5
	}, 5*time.Second, time.Millisecond)
	nc, err := shake(n, outside(t, n), "b.example") // others are served
	require.NoError(t, err)
	require.NoError(t, nc.Close())
	select {
	case err := <-waiting:
		t.Errorf("answered: %v", err)
	default:
	}
	n.SetFault("a.example", None)
	assert.NoError(t, <-waiting)

	n.SetDefault("b.example")
	n.Remove("a.example") // another host must not answer in its name
	_, err = shake(n, outside(t, n), "a.example")
	assert.ErrorIs(t, err, syscall.ECONNRESET)
}

func TestCutResetsLiveConnections(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.Handle("b.example", echo("b"))
		var conns []net.Conn
		for _, host := range []string{"a.example", "a.example", "b.example"} {
			nc, err := open(n, host)
			require.NoError(t, err)
			conns = append(conns, nc)
		}
		assert.Equal(t, 2, n.Cut("A.example"))
		for _, nc := range conns[:2] {
			_, err := nc.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
			_ = nc.Close()
		}
		_, err := conns[2].Write([]byte("x"))
		require.NoError(t, err)
		_, err = conns[2].Read(make([]byte, 1))
		require.NoError(t, err)
		require.NoError(t, conns[2].Close())
		assert.Eventually(t, func() bool {
			return n.Cut("b.example") == 0
		}, 5*time.Second, time.Millisecond)
	})
}

type counter struct {
	net.Conn
	got int
}

func (c *counter) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.got += n
	return n, err
}

func TestCutAfterAnyNumberOfBytes(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for _, at := range []int{0, 1, 5, 100, 700, 1000, 1200, 2000, 5000} {
			n.CutAfter("a.example", at)
			raw, err := n.DialContext(t.Context(), "tcp", "a.example:8883")
			require.NoError(t, err)
			c := &counter{Conn: raw}
			nc, err := shake(n, c, "a.example")
			for err == nil {
				_, err = nc.Write([]byte("x"))
				if err == nil {
					_, err = nc.Read(make([]byte, 10))
				}
			}
			assert.Equal(t, at, c.got)
			assert.True(
				t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err,
			)
			_ = raw.Close()

			nc, err = open(n, "a.example") // it held for one connection
			require.NoError(t, err)
			require.NoError(t, nc.Close())
		}
	})
}

func TestStallStopsBytesAndClosesNothing(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		nc, err := open(n, "a.example")
		require.NoError(t, err)
		n.Stall("a.example", true)
		_, err = nc.Write([]byte("one"))
		require.NoError(t, err)
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = nc.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.NoError(t, nc.SetReadDeadline(time.Time{}))

		fresh, err := n.DialContext(t.Context(), "tcp", "a.example:8883")
		require.NoError(t, err)
		require.NoError(t, fresh.SetDeadline(time.Now().Add(50*time.Millisecond)))
		_, err = shake(n, fresh, "a.example")
		require.ErrorAs(t, err, &timeout)

		n.Stall("a.example", false)
		heard := make([]byte, 3)
		_, err = io.ReadFull(nc, heard)
		require.NoError(t, err)
		assert.Equal(t, "one", string(heard))
		require.NoError(t, nc.Close())
	})
}

func TestServerThatWritesIntoAStallWaitsWhenTheBufferIsFull(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		wrote := make(chan error, 10)
		n.Handle("a.example", writer{wrote})
		nc, err := open(n, "a.example")
		require.NoError(t, err)
		_, err = nc.Read(make([]byte, 1))
		require.NoError(t, err)
		n.Stall("a.example", true)
		start := time.Now()
		for err := range wrote {
			if err != nil {
				assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
				break
			}
		}
		assert.Equal(t, time.Minute, time.Since(start))
		n.Stall("a.example", false)
		rest, err := io.ReadAll(nc)
		assert.Error(t, err, "the stream has a gap where the server gave up")
		assert.GreaterOrEqual(t, len(rest), sendBuffer-16<<10)
		_ = nc.Close()
	})
}

type writer struct{ wrote chan<- error }

func (writer) ServeHTTP(http.ResponseWriter, *http.Request) {}

func (w writer) ServeMQTT(nc net.Conn) {
	defer nc.Close()
	_ = nc.SetWriteDeadline(time.Now().Add(time.Minute))
	for {
		_, err := nc.Write(make([]byte, 10<<10))
		w.wrote <- err
		if err != nil {
			return
		}
	}
}

func TestServerThatClosesDuringAStallIsNotNoticed(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		nc, err := open(n, "a.example")
		require.NoError(t, err)
		synctest.Wait() // the server, too, has finished the handshake
		n.Stall("a.example", true)
		for _, c := range n.to("a.example") {
			// the site gives the connection up
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute)))
		}
		require.NoError(t, nc.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = nc.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
		require.NoError(t, nc.SetReadDeadline(time.Time{}))
		n.Stall("a.example", false)
		_, err = nc.Read(make([]byte, 1))
		assert.Error(t, err)
		_ = nc.Close()
		synctest.Wait()
		assert.Empty(t, n.to("a.example"))
	})
}
