// SPDX-License-Identifier: Apache-2.0

package dial_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/dial"
	"github.com/rehome-iot/rehome/internal/memnet"
)

const hub = "hub.example"

// world is a device whose way to the network may lead through proxies.
type world struct {
	*testing.T
	network *simnet.Network
	proxies map[string]func(net.Conn) // by address
	dialer  *dial.Dialer
	serving sync.WaitGroup

	mu    sync.Mutex
	dials []string
	asked []string // of a proxy: what it was asked for
	shown []string // to the hub: names of client certificates, "" for none
}

// explore runs a test in a bubble.
func explore(t *testing.T, test func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, network: simnet.ForTest(t), proxies: map[string]func(net.Conn){}}
		w.network.Handle(hub, w)
		w.dialer = &dial.Dialer{
			DialContext: w.dial, TLSConfig: w.network.TLSConfig(), UserAgent: "thermostat/1.0",
		}
		test(w)
		w.serving.Wait()
	})
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, address)
	serve := w.proxies[address]
	if serve == nil {
		return w.network.DialContext(ctx, network, address)
	}
	client, server := memnet.Pipe("device:1", address)
	w.serving.Go(func() {
		defer func() { _ = server.Close() }()
		serve(server)
	})
	return client, nil
}

// ServeMQTT repeats what it reads.
func (w *world) ServeMQTT(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	w.meet(nc.(*tls.Conn).ConnectionState())
	_, _ = io.Copy(nc, nc)
}

// ServeHTTP repeats the body.
func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.meet(*r.TLS)
	_, _ = io.Copy(rw, r.Body)
}

func (w *world) meet(state tls.ConnectionState) {
	name := ""
	if len(state.PeerCertificates) > 0 {
		name = state.PeerCertificates[0].Subject.CommonName
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shown = append(w.shown, name)
}

func (w *world) ask(what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked = append(w.asked, what)
}

// target is the hub, by one of the schemes.
func target(scheme string) *url.URL { return &url.URL{Scheme: scheme, Host: hub} }

// speak dials the hub, and lets it repeat a word.
func (w *world) speak(scheme string) error {
	nc, err := w.dialer.TLS(w.Context(), target(scheme))
	if err != nil {
		return err
	}
	defer func() { _ = nc.Close() }()
	repeated := make([]byte, 5)
	if scheme == "mqtts" {
		_, err = io.WriteString(nc, "hello")
		require.NoError(w, err)
		_, err = io.ReadFull(nc, repeated)
	} else {
		r, _ := http.NewRequest(http.MethodPut, "https://"+hub+"/", strings.NewReader("hello"))
		require.NoError(w, r.Write(nc))
		response, failed := http.ReadResponse(bufio.NewReader(nc), r)
		require.NoError(w, failed)
		_, err = io.ReadFull(response.Body, repeated)
	}
	require.NoError(w, err)
	assert.Equal(w, "hello", string(repeated))
	return nil
}

// tunnel is an HTTP proxy that notes what it is asked for.
func (w *world) tunnel(nc net.Conn) {
	r, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	w.ask(strings.Join([]string{
		r.Method, r.Host, r.Header.Get("Proxy-Authorization"), r.UserAgent(),
	}, " "))
	to, err := w.network.DialContext(context.Background(), "tcp", r.Host)
	if err != nil {
		_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	_, _ = io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n")
	memnet.Join(nc, to)
}

// secured puts TLS before a proxy, for which a client's certificate would be welcome.
func (w *world) secured(certificate tls.Certificate, serve func(net.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		tc := tls.Server(nc, &tls.Config{
			Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert,
		})
		if tc.Handshake() != nil {
			return
		}
		for _, c := range tc.ConnectionState().PeerCertificates {
			w.ask("certificate of " + c.Subject.CommonName)
		}
		serve(tc)
	}
}

// socks is a SOCKS 5 proxy (RFC 1928) that wants a user name and password where the client offers
// them (RFC 1929), and replies with a code.
func (w *world) socks(code byte) func(net.Conn) {
	return func(nc net.Conn) {
		take := func(n int) []byte {
			b := make([]byte, n)
			_, _ = io.ReadFull(nc, b)
			return b
		}
		user := "nobody"
		if methods := take(int(take(2)[1])); strings.Contains(string(methods), "\x02") {
			_, _ = nc.Write([]byte{5, 2})
			user = string(take(int(take(2)[1])))
			user += ":" + string(take(int(take(1)[0])))
			_, _ = nc.Write([]byte{1, 0})
		} else {
			_, _ = nc.Write([]byte{5, 0})
		}
		var host string
		switch take(4)[3] {
		case 1:
			host = net.IP(take(4)).String()
		case 3:
			host = string(take(int(take(1)[0])))
		case 4:
			host = netip.AddrFrom16([16]byte(take(16))).String() // tells a mapped one
		}
		port := strconv.Itoa(int(binary.BigEndian.Uint16(take(2))))
		w.ask("SOCKS " + net.JoinHostPort(host, port) + " " + user)
		if code != 0 {
			_, _ = nc.Write([]byte{5, code, 0, 1, 0, 0, 0, 0, 0, 0})
			return
		}
		to, err := w.network.DialContext(context.Background(), "tcp", net.JoinHostPort(host, port))
		if err != nil {
			return
		}
		_, _ = nc.Write(append([]byte{5, 0, 0, 3, 4}, "here\x01\xbb"...)) // bound to a name
		memnet.Join(nc, to)
	}
}
