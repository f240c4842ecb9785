package hubtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// echo is a Site that says its name over HTTPS, and repeats what it hears on the MQTT port.
type echo string

func (e echo) ServeHTTP(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, string(e)) }
func (e echo) ServeMQTT(nc net.Conn) {
	_, _ = io.Copy(nc, nc)
	_ = nc.Close()
}

// open connects to the MQTT port.
func open(n *Network, host string) (net.Conn, error) {
	raw, err := n.DialContext(context.Background(), "tcp", host+":8883")
	if err != nil {
		return nil, err
	}
	return shake(n, raw, host)
}

func shake(n *Network, raw net.Conn, host string) (net.Conn, error) {
	cfg := n.TLSConfig()
	cfg.ServerName = host
	tc := tls.Client(raw, cfg)
	if err := tc.Handshake(); err != nil {
		_ = raw.Close()
		return nil, err
	}
	return tc, nil
}

// outside connects to the MQTT port as another process does: by address.
func outside(t *testing.T, n *Network) net.Conn {
	t.Helper()
	raw, err := net.Dial("tcp", n.MQTTAddr())
	require.NoError(t, err)
	return raw
}

func TestHostsAreToldApartByTLSServerName(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.Handle("B.example", echo("b"))
		for url, want := range map[string]string{
			"https://a.example/": "a", "https://b.example/": "b", "https://A.EXAMPLE:443/": "a",
		} {
			answer, body, err := get(t, n, n.TLSConfig(), url)
			require.NoError(t, err, url)
			assert.Equal(t, want, body, url)
			assert.Equal(t, 1, answer.ProtoMajor, "WebSocket needs HTTP/1.1")
			assert.Equal(t, uint16(tls.VersionTLS12), answer.TLS.Version)
		}
		nc, err := open(n, "b.example")
		require.NoError(t, err)
		_, err = nc.Write([]byte("hello"))
		require.NoError(t, err)
		heard := make([]byte, 5)
		_, err = io.ReadFull(nc, heard)
		require.NoError(t, err)
		assert.Equal(t, "hello", string(heard))
		require.NoError(t, nc.Close())
	})
}

func TestConnectionsWithoutAKnownNameGoToTheDefaultSite(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for _, host := range []string{"localhost", "127.0.0.1"} {
			_, _, err := get(t, n, n.TLSConfig(), "https://"+host+"/")
			var dns *net.DNSError
			require.ErrorAs(t, err, &dns)
			assert.True(t, dns.IsNotFound)
		}
		n.SetDefault("a.example")
		for _, host := range []string{"localhost", "127.0.0.1", "[::1]", "a.example"} {
			_, body, err := get(t, n, n.TLSConfig(), "https://"+host+"/")
			require.NoError(t, err, host)
			assert.Equal(t, "a", body)
		}
		// A name that only the client knows, as that of a container.
		raw, err := n.DialContext(t.Context(), "tcp", "localhost:8883")
		require.NoError(t, err)
		nc, err := shake(n, raw, "simulator")
		require.NoError(t, err)
		require.NoError(t, nc.Close())
		assert.Equal(t, 5, n.Dials("a.example"))
	})
}

func TestCertificatesForStrangeNamesAreBounded(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetDefault("a.example")
		failed := 0
		for i := range maxStrangeNames + 10 {
			raw, err := n.DialContext(t.Context(), "tcp", "localhost:8883")
			require.NoError(t, err)
			nc, err := shake(n, raw, "name-"+string(rune('a'+i/26))+string(rune('a'+i%26)))
			if err != nil {
				failed++
				continue
			}
			require.NoError(t, nc.Close())
		}
		assert.Equal(t, 10, failed)
		assert.LessOrEqual(t, len(n.certs), maxStrangeNames+1)
	})
}

func TestNamesAndPorts(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		var dns *net.DNSError
		_, err := open(n, "nobody.example")
		require.ErrorAs(t, err, &dns)
		assert.True(t, dns.IsNotFound)
		_, err = n.DialContext(t.Context(), "tcp", "a.example:1883")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		_, err = n.DialContext(t.Context(), "tcp", "a.example")
		assert.Error(t, err)

		nc, err := open(n, "a.example")
		require.NoError(t, err)
		n.Remove("A.example")
		_, err = nc.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_ = nc.Close()
		_, err = open(n, "a.example")
		require.ErrorAs(t, err, &dns)
		assert.True(t, dns.IsNotFound)
	})
}

func TestServicesFollowTheirOwnClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, offset := range []time.Duration{0, 26 * year, -5 * year, 10 * time.Minute} {
		anywhere(t, func(t *testing.T, n *Network) {
			n.Handle("a.example", echo("a"))
			cfg := n.TLSConfig() // trusts the CA before and after the clock is moved
			n.SetClockOffset(offset)
			cfg.Time = n.Now
			answer, _, err := get(t, n, cfg, "https://a.example/")
			require.NoError(t, err)
			date, err := http.ParseTime(answer.Header.Get("Date"))
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().Add(offset), date, 2*time.Second)
			if offset > year || offset < 0 {
				_, _, err := get(t, n, n.TLSConfig(), "https://a.example/")
				var invalid x509.CertificateInvalidError
				require.ErrorAs(t, err, &invalid)
				assert.Equal(t, x509.Expired, invalid.Reason)
			}
		})
	}
}

func TestCertificateOfEachKind(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		verify := func(kind CertificateKind) error {
			n.SetCertificate("a.example", kind)
			nc, err := open(n, "a.example")
			if err == nil {
				return nc.Close()
			}
			return err
		}
		require.NoError(t, verify(Valid))
		for _, kind := range []CertificateKind{Expired, NotYetValid} {
			var invalid x509.CertificateInvalidError
			require.ErrorAs(t, verify(kind), &invalid, kind)
			assert.Equal(t, x509.Expired, invalid.Reason)
		}
		var unknown x509.UnknownAuthorityError
		require.ErrorAs(t, verify(UnknownCA), &unknown)
		var name x509.HostnameError
		require.ErrorAs(t, verify(WrongName), &name)
		require.NoError(t, verify(Valid))
	})
}

func TestTLSVersionIsSettable(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.SetMaxTLSVersion(tls.VersionTLS13)
		answer, _, err := get(t, n, n.TLSConfig(), "https://a.example/")
		require.NoError(t, err)
		assert.Equal(t, uint16(tls.VersionTLS13), answer.TLS.Version)
	})
}

func TestFaultsMetByADial(t *testing.T) {
	anywhere(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		dial := func(f NetworkFault) error {
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
		assert.Equal(t, 6, n.Dials("a.example"), "a dial that fails counts, a dial by socket counts once")

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
	for i, f := range []NetworkFault{NameNotFound, NameFailure, Refused, ResetOnAccept} {
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
	require.Eventually(t, func() bool { return n.Dials("a.example") == 5 }, 5*time.Second, time.Millisecond)
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
		assert.Eventually(t, func() bool { return n.Cut("b.example") == 0 }, 5*time.Second, time.Millisecond)
	})
}

// counter counts the bytes a client got.
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
			assert.True(t, errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE), "%v", err)
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

func TestServerThatClosesDuringAStallIsNotNoticed(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		nc, err := open(n, "a.example")
		require.NoError(t, err)
		n.Stall("a.example", true)
		for _, c := range n.to("a.example") {
			require.NoError(t, c.SetReadDeadline(time.Now().Add(time.Minute))) // the site gives the connection up
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
		assert.Empty(t, n.to("a.example"))
	})
}

func TestClientsThatNeverFinishAreDropped(t *testing.T) {
	inMemory(t, func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		for _, address := range []string{"a.example:443", "a.example:8883"} {
			half, err := n.DialContext(t.Context(), "tcp", address)
			require.NoError(t, err)
			_, err = half.Write([]byte{0x16, 0x03}) // the beginning of a handshake
			require.NoError(t, err)
			start := time.Now()
			_, err = half.Read(make([]byte, 1))
			assert.ErrorIs(t, err, io.EOF)
			assert.Equal(t, 30*time.Second, time.Since(start))
			require.NoError(t, half.Close())
		}
		raw, err := n.DialContext(t.Context(), "tcp", "a.example:443")
		require.NoError(t, err)
		slow, err := shake(n, raw, "a.example")
		require.NoError(t, err)
		_, err = slow.Write([]byte("GET / HTTP/1.1\r\nX-Slow:"))
		require.NoError(t, err)
		start := time.Now()
		_, _ = io.ReadAll(slow)
		assert.Equal(t, 30*time.Second, time.Since(start))
		_ = slow.Close()
	})
}

func TestCloseEndsEverything(t *testing.T) {
	crowd := func(t *testing.T, n *Network) {
		n.Handle("a.example", echo("a"))
		n.Handle("stalled.example", echo("s"))
		n.Handle("waiting.example", waiting{})
		n.SetFault("hole.example", Blackhole)
		var clients sync.WaitGroup
		for range 20 { // half-open ones of each kind
			raw, err := n.DialContext(t.Context(), "tcp", "a.example:8883")
			require.NoError(t, err)
			defer raw.Close()
			nc, err := open(n, "a.example")
			require.NoError(t, err)
			defer nc.Close()
		}
		st, err := open(n, "stalled.example")
		require.NoError(t, err)
		defer st.Close()
		n.Stall("stalled.example", true)
		clients.Go(func() {
			_, err := n.DialContext(context.Background(), "tcp", "hole.example:8883")
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
		clients.Go(func() {
			_, _, err := get(t, n, n.TLSConfig(), "https://waiting.example/")
			assert.Error(t, err)
		})
		for n.Dials("waiting.example") == 0 || n.Dials("hole.example") == 0 {
			time.Sleep(time.Millisecond)
		}
		require.NoError(t, n.Close())
		clients.Wait()
		require.NoError(t, n.Close())
		_, err = n.DialContext(t.Context(), "tcp", "a.example:443")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	}
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { crowd(t, NewNetwork()) })
	})
	t.Run("sockets", func(t *testing.T) {
		before := runtime.NumGoroutine()
		n, err := Listen(ListenConfig{})
		require.NoError(t, err)
		crowd(t, n)
		quiet(t, before)
	})
}

// quiet waits until no more goroutines run than before.
func quiet(t *testing.T, before int) {
	t.Helper()
	for range 1000 {
		if runtime.NumGoroutine() <= before {
			return
		}
		time.Sleep(time.Millisecond) // those that ended are counted until the scheduler has seen it
	}
	stacks := make([]byte, 1<<20)
	t.Errorf("goroutines left over:\n%s", stacks[:runtime.Stack(stacks, true)])
}

// waiting is a Site that answers nothing until its client, or the network, is gone.
type waiting struct{}

func (waiting) ServeHTTP(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
func (waiting) ServeMQTT(nc net.Conn)                            { _ = nc.Close() }

func TestListenFailsInOneLine(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = Listen(ListenConfig{HTTPSPort: port})
	assert.ErrorContains(t, err, "hubtest: listen for HTTPS: ")
	_, err = Listen(ListenConfig{MQTTPort: port})
	assert.ErrorContains(t, err, "hubtest: listen for MQTT: ")
}
