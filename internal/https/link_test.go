// SPDX-License-Identifier: Apache-2.0

package https_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/memnet"
)

// peer is the server's end of a connection.
type peer struct {
	*tls.Conn
	reader *bufio.Reader
}

// request reads a request with its body, and false when there is none.
func (p *peer) request() bool {
	r, err := http.ReadRequest(p.reader)
	if err != nil {
		return false
	}
	_, err = io.Copy(io.Discard, r.Body)
	return err == nil
}

func (p *peer) say(s string) { _, _ = io.WriteString(p, s) }

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine"

// converse runs a test in a bubble, with a Conn to a server that does with its n-th connection,
// from 1 on, what serve says, and then closes it.
func converse(
	t *testing.T, serve func(n int, p *peer), test func(*testing.T, *https.Conn, func() int),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ca := simnet.NewCA("Simulated Root", time.Now())
		certificate := ca.Server(host)
		var serving sync.WaitGroup
		defer serving.Wait()
		var mu sync.Mutex
		dials := 0
		conn, err := https.Open(https.Options{
			TLSConfig: &tls.Config{RootCAs: ca.Pool()}, UserAgent: "thermostat/1.0",
			DialContext: func(context.Context, string, string) (net.Conn, error) {
				mu.Lock()
				defer mu.Unlock()
				dials++
				n := dials
				client, server := memnet.Pipe("device:1", host+":443")
				serving.Go(func() {
					tc := tls.Server(server, &tls.Config{
						Certificates: []tls.Certificate{certificate},
					})
					if tc.Handshake() == nil {
						serve(n, &peer{Conn: tc, reader: bufio.NewReader(tc)})
					}
					_ = tc.Close()
				})
				return client, nil
			},
		})
		require.NoError(t, err)
		defer conn.Close()
		test(t, conn, func() int {
			mu.Lock()
			defer mu.Unlock()
			return dials
		})
	})
}

// text is what a test looks at in a response.
func text(r https.Response) string {
	return fmt.Sprintf("%d %s %s", r.Status, r.Body, r.RetryAfter)
}

func put(t *testing.T, conn *https.Conn, body []byte) (https.Response, error) {
	t.Helper()
	return conn.Do(t.Context(), https.Request{
		Method: http.MethodPut, URL: root, Body: body, Limit: 30 * time.Second,
	})
}

func TestInterimResponsesAreSkipped(t *testing.T) {
	converse(t, func(_ int, p *peer) {
		for p.request() {
			p.say("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nRetry-After: 7\r\n\r\n")
			p.say(fine)
		}
	}, func(t *testing.T, conn *https.Conn, dials func() int) {
		for range 2 {
			r, err := get(t, conn)
			require.NoError(t, err)
			assert.Equal(t, "200 fine ", text(r))
		}
		assert.Equal(t, 1, dials())
	})
}

func TestInterimResponsesWithoutEndAreAnError(t *testing.T) {
	converse(t, func(_ int, p *peer) {
		for p.request() {
			for {
				_, err := io.WriteString(p, "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n")
				if err != nil {
					return
				}
			}
		}
	}, func(t *testing.T, conn *https.Conn, _ func() int) {
		r, err := get(t, conn)
		require.ErrorContains(t, err, "longer than 65536 bytes")
		assert.Zero(t, r)
	})
}

func TestAConnectionThatCannotCarryAnotherRequestIsNotUsedAgain(t *testing.T) {
	for name, after := range map[string]func(p *peer){
		"closed":          func(*peer) {},
		"reset":           func(p *peer) { _ = p.NetConn().Close() },
		"closing":         func(p *peer) { p.request() },
		"old":             func(p *peer) { p.request() },
		"more than asked": func(p *peer) { p.request() },
		"unasked":         func(p *peer) { p.say("HTTP/1.1 408 Late\r\n\r\n"); p.request() },
	} {
		converse(t, func(n int, p *peer) {
			if !p.request() {
				return
			}
			if n == 2 {
				p.say(fine)
				return
			}
			switch name {
			case "closing":
				p.say(strings.Replace(fine, "\r\n", "\r\nConnection: close\r\n", 1))
			case "old":
				p.say(strings.Replace(fine, "HTTP/1.1", "HTTP/1.0", 1))
			case "more than asked":
				p.say(fine + "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
			default:
				p.say(fine)
			}
			after(p)
		}, func(t *testing.T, conn *https.Conn, dials func() int) {
			for range 2 {
				r, err := put(t, conn, []byte("hello"))
				require.NoError(t, err, name)
				assert.Equal(t, "200 fine ", text(r), name)
				time.Sleep(time.Second)
			}
			assert.Equal(t, 2, dials(), name)
		})
	}
}

func TestAResponseBeforeTheRequestWasReadCounts(t *testing.T) {
	for name, end := range map[string]func(*peer){
		"and nothing more": func(p *peer) { time.Sleep(time.Hour) },
		"and a close":      func(*peer) {},
	} {
		converse(t, func(n int, p *peer) {
			if n == 2 {
				p.request()
				p.say(fine)
				return
			}
			_, err := http.ReadRequest(p.reader)
			require.NoError(t, err)
			p.say("HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch")
			end(p)
		}, func(t *testing.T, conn *https.Conn, dials func() int) {
			start := time.Now()
			r, err := put(t, conn, bytes.Repeat([]byte("x"), 4<<20))
			require.NoError(t, err, name)
			assert.Equal(t, "413 much ", text(r), name)
			assert.LessOrEqual(t, time.Since(start), time.Second, name)
			r, err = put(t, conn, nil)
			require.NoError(t, err, name)
			assert.Equal(t, "200 fine ", text(r), name)
			assert.Equal(t, 2, dials(), name)
		})
	}
}

func TestARequestThatNobodyReadsEndsAtItsLimit(t *testing.T) {
	converse(t, func(_ int, p *peer) {
		time.Sleep(time.Minute)
	}, func(t *testing.T, conn *https.Conn, _ func() int) {
		start := time.Now()
		_, err := put(t, conn, bytes.Repeat([]byte("x"), 4<<20))
		assert.ErrorIs(t, err, https.TimeoutError(30*time.Second))
		assert.Equal(t, 30*time.Second, time.Since(start))
	})
}

func TestAConnectionThatIsLostInTheMiddleOfARequestIsAnErrorAtOnce(t *testing.T) {
	converse(t, func(_ int, p *peer) {
		_, _ = http.ReadRequest(p.reader)
	}, func(t *testing.T, conn *https.Conn, _ func() int) {
		start := time.Now()
		r, err := put(t, conn, bytes.Repeat([]byte("x"), 4<<20))
		require.Error(t, err)
		assert.Zero(t, r)
		assert.LessOrEqual(t, time.Since(start), time.Second)
	})
}

// deafened is a connection on which a peer reads no more, and says nothing either.
type deafened struct {
	net.Conn
	left int
}

func (d *deafened) Write(b []byte) (int, error) {
	if d.left -= len(b); d.left < 0 {
		return 0, &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}
	}
	return d.Conn.Write(b)
}

func TestARequestThatCannotBeSentWaitsNotLongForAResponse(t *testing.T) {
	visit(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	}, func(t *testing.T, network *simnet.Network, _ *https.Conn) {
		o := options(network)
		o.DialContext = func(ctx context.Context, nw, address string) (net.Conn, error) {
			nc, err := network.DialContext(ctx, nw, address)
			return &deafened{nc, 100 << 10}, err
		}
		conn, err := https.Open(o)
		require.NoError(t, err)
		start := time.Now()
		_, err = put(t, conn, bytes.Repeat([]byte("x"), 1<<20))
		assert.ErrorContains(t, err, syscall.EPIPE.Error())
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestAnIdleConnectionIsForItsServerAlone(t *testing.T) {
	converse(t, func(_ int, p *peer) {
		for p.request() {
			p.say(fine)
		}
	}, func(t *testing.T, conn *https.Conn, dials func() int) {
		_, err := get(t, conn)
		require.NoError(t, err)
		_, err = conn.Do(t.Context(), https.Request{
			Method: http.MethodGet, URL: "https://other.example.net/",
		})
		assert.ErrorContains(t, err, "other.example.net")
		assert.Equal(t, 2, dials())
	})
}

func TestRequestsAtOnceEachHaveAConnectionAndOneIsKept(t *testing.T) {
	var ended atomic.Int32
	converse(t, func(_ int, p *peer) {
		for p.request() {
			time.Sleep(time.Second)
			p.say(fine)
		}
		ended.Add(1)
	}, func(t *testing.T, conn *https.Conn, dials func() int) {
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				r, err := get(t, conn)
				assert.NoError(t, err)
				assert.Equal(t, "200 fine ", text(r))
			})
		}
		all.Wait()
		require.Equal(t, 5, dials())
		_, err := get(t, conn)
		require.NoError(t, err)
		assert.Equal(t, 5, dials())
		conn.Close()
		_, err = get(t, conn)
		require.NoError(t, err)
		assert.Equal(t, 6, dials())
		synctest.Wait()
		assert.EqualValues(t, 6, ended.Load(), "a Conn that is closed keeps no connection")
	})
}

func TestOnlyHTTPSIsSpoken(t *testing.T) {
	converse(t, func(int, *peer) {}, func(t *testing.T, conn *https.Conn, dials func() int) {
		for _, target := range []string{"http://" + host + "/", "ftp://" + host, "https:///x", "/x"} {
			_, err := conn.Do(t.Context(), https.Request{Method: http.MethodGet, URL: target})
			assert.Error(t, err, target)
		}
		assert.Zero(t, dials())
	})
}
