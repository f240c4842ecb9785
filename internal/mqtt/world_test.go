// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// authority signs certificates in a test. Made in a bubble, it lives in the bubble's time.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	a := &authority{t: t}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true,
		BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	a.cert, err = x509.ParseCertificate(der)
	require.NoError(t, err)
	a.key = key
	return a
}

// server issues a certificate for a name, valid from an hour ago until end.
func (a *authority) server(name string, end time.Time) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), a.key)
	require.NoError(a.t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func (a *authority) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{RootCAs: pool}
}

// world is a network of addresses; each has a function that serves a connection to it.
type world struct {
	t       *testing.T
	serve   map[string]func(net.Conn)
	serving sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	dials []string
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, serve: map[string]func(net.Conn){}}
	t.Cleanup(func() {
		w.mu.Lock()
		for _, nc := range w.conns {
			_ = nc.Close()
		}
		w.mu.Unlock()
		w.serving.Wait()
	})
	return w
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, address)
	serve := w.serve[address]
	if serve == nil {
		return nil, &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}
	}
	client, server := memnet.Pipe("device:1", address)
	w.conns = append(w.conns, server)
	w.serving.Go(func() { serve(server) })
	return client, nil
}

func (w *world) dialed() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]string(nil), w.dials...)
}

// silent takes a connection and says nothing.
func silent(nc net.Conn) { _, _ = io.Copy(io.Discard, nc) }

// secured serves over TLS.
func secured(cert tls.Certificate, serve func(*tls.Conn)) func(net.Conn) {
	return func(nc net.Conn) {
		tc := tls.Server(nc, &tls.Config{
			Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert,
			MaxVersion: tls.VersionTLS12,
		})
		if tc.Handshake() == nil {
			serve(tc)
		}
		_ = nc.Close()
	}
}

// oneConn is a listener with one connection to accept.
type oneConn struct {
	nc   chan net.Conn
	addr net.Addr
}

func (l oneConn) Accept() (net.Conn, error) {
	nc, ok := <-l.nc
	if !ok {
		return nil, net.ErrClosed
	}
	return nc, nil
}
func (l oneConn) Close() error   { return nil }
func (l oneConn) Addr() net.Addr { return l.addr }

// web serves HTTP on one connection over TLS, until it is closed.
func web(cert tls.Certificate, handler http.HandlerFunc) func(net.Conn) {
	return secured(cert, func(tc *tls.Conn) {
		l := oneConn{nc: make(chan net.Conn, 1), addr: tc.LocalAddr()}
		l.nc <- tc
		close(l.nc)
		finished := make(chan struct{})
		finish := sync.OnceFunc(func() { close(finished) })
		var hijacked atomic.Bool
		server := &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				handler(w, r)
				if hijacked.Load() {
					finish()
				}
			}), ConnState: func(_ net.Conn, s http.ConnState) {
				switch s {
				case http.StateHijacked:
					hijacked.Store(true)
				case http.StateClosed:
					finish()
				}
			},
		}
		_ = server.Serve(l)
		<-finished
	})
}

// upgraded accepts WebSocket connections and serves them as streams.
func upgraded(cert tls.Certificate, serve func(net.Conn)) func(net.Conn) {
	return web(cert, func(w http.ResponseWriter, r *http.Request) {
		ws, err := (&websocket.Upgrader{Subprotocols: []string{"mqtt"}}).Upgrade(w, r, nil)
		if err != nil {
			return
		}
		serve(&wsConn{ws: ws})
		_ = ws.Close()
	})
}

// tunnels is an HTTP proxy; refuse may answer in its place.
func tunnels(w *world, refuse func(*http.Request) *http.Response) func(net.Conn) {
	return func(nc net.Conn) {
		defer nc.Close()
		r, err := http.ReadRequest(bufio.NewReader(nc))
		if err != nil || r.Method != http.MethodConnect {
			return
		}
		if response := refuse(r); response != nil {
			_ = response.Write(nc)
			return
		}
		to, err := w.dial(context.Background(), "tcp", r.Host)
		if err != nil {
			_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
			return
		}
		defer to.Close()
		_, _ = io.WriteString(nc, "HTTP/1.1 200 Connection established\r\n\r\n")
		memnet.Join(nc, to)
	}
}
