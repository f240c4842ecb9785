// SPDX-License-Identifier: Apache-2.0

package memnet

import (
	"bytes"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBothSidesMayWriteFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		for _, c := range []net.Conn{a, b} {
			n, err := c.Write(bytes.Repeat([]byte("x"), bufferSize))
			require.NoError(t, err)
			require.Equal(t, bufferSize, n)
		}
		assert.Equal(t, "a:1", a.LocalAddr().String())
		assert.Equal(t, "b:2", a.RemoteAddr().String())
		assert.Equal(t, "tcp", b.LocalAddr().Network())
	})
}

func TestEveryByteArrivesInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		sent := make([]byte, 5*bufferSize+7)
		for i := range sent {
			sent[i] = byte(i * 31)
		}
		go func() {
			for part := sent; len(part) > 0; {
				n := min(len(part), 70001)
				if _, err := a.Write(part[:n]); err != nil {
					return
				}
				part = part[n:]
			}
			a.Close()
		}()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(sent, got))
	})
}

func TestWritesOfSeveralGoroutinesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		const size = bufferSize + 100 // each has to wait in the middle
		var writers sync.WaitGroup
		for i := range 4 {
			writers.Go(func() { _, _ = a.Write(bytes.Repeat([]byte{byte('a' + i)}, size)) })
		}
		go func() { writers.Wait(); a.Close() }()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		require.Len(t, got, 4*size)
		for i := 0; i < len(got); i += size {
			assert.Equal(t, size, bytes.Count(got[i:i+size], got[i:i+1]))
		}
	})
}

func TestCloseIsSeenAfterWhatWasWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		_, err := a.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, a.Close())
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.Equal(t, "last words", string(got))

		_, err = b.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)
		for _, op := range []func() error{
			a.Close,
			func() error { _, err := a.Read(make([]byte, 1)); return err },
			func() error { _, err := a.Write([]byte("x")); return err },
			func() error { return a.SetDeadline(time.Now()) },
		} {
			assert.ErrorIs(t, op(), net.ErrClosed)
		}
	})
}

func TestCloseEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		_, err := a.Write(make([]byte, bufferSize))
		require.NoError(t, err)
		var waits sync.WaitGroup
		waits.Go(func() {
			_, err := a.Read(make([]byte, 1))
			assert.ErrorIs(t, err, net.ErrClosed)
		})
		waits.Go(func() { _, err := a.Write([]byte("x")); assert.ErrorIs(t, err, net.ErrClosed) })
		synctest.Wait()
		require.NoError(t, a.Close())
		waits.Wait()
		require.NoError(t, b.Close())
	})
}

func TestResetIsSeenAfterWhatHadArrived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		_, err := b.Write([]byte("half an ans"))
		require.NoError(t, err)
		b.Reset()
		got, err := io.ReadAll(a)
		assert.Equal(t, "half an ans", string(got))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = a.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = b.Read(make([]byte, 1))
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		start := time.Now()
		require.NoError(t, a.SetReadDeadline(start.Add(time.Hour)))
		_, err := a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())
		assert.Equal(t, time.Hour, time.Since(start))

		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := a.Write(make([]byte, bufferSize+1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.Equal(t, bufferSize, n)

		// A deadline in the past breaks a wait; a later one, or none, makes the connection usable
		// again.
		go func() {
			time.Sleep(time.Second)
			_ = a.SetDeadline(time.Unix(1, 0))
		}()
		require.NoError(t, a.SetReadDeadline(time.Time{}))
		_, err = a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, a.SetDeadline(time.Time{}))
		_, err = b.Write([]byte("y"))
		require.NoError(t, err)
		_, err = a.Read(make([]byte, 1))
		assert.NoError(t, err)
	})
}

func TestStallHoldsBytesAndNewsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		_, err := a.Write([]byte("under way"))
		require.NoError(t, err)
		b.Stall(true)
		require.NoError(t, b.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = b.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		require.NoError(t, b.Close()) // a does not notice
		n, err := a.Write([]byte("into the void"))
		require.NoError(t, err)
		assert.Equal(t, 13, n)
		require.NoError(t, a.SetReadDeadline(time.Now().Add(time.Hour)))
		_, err = a.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		a.Stall(false)
		require.NoError(t, a.SetReadDeadline(time.Time{}))
		_, err = a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, io.EOF)
		_, err = a.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.EPIPE)
	})
}

func TestResetBreaksAStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		a.Stall(true)
		var read sync.WaitGroup
		read.Go(func() {
			_, err := a.Read(make([]byte, 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)
		})
		synctest.Wait()
		b.Reset()
		read.Wait()
	})
}

func TestAnEndThatHasSentItsLastStillReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := Pipe("a:1", "b:2")
		_, err := a.Write([]byte("last"))
		require.NoError(t, err)
		require.NoError(t, a.CloseWrite())
		_, err = a.Write([]byte("x"))
		require.ErrorIs(t, err, syscall.EPIPE)
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		assert.Equal(t, "last", string(got))
		_, err = b.Write([]byte("answer"))
		require.NoError(t, err)
		require.NoError(t, b.Close())
		got, err = io.ReadAll(a)
		require.NoError(t, err)
		assert.Equal(t, "answer", string(got))
		require.NoError(t, a.Close())
		assert.ErrorIs(t, a.CloseWrite(), net.ErrClosed)
	})
}
