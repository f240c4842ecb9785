// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	hub     = "hub.example"
	hubMQTT = "hub.example:8883"
	hubWeb  = "hub.example:443"
	hubURL  = "wss://hub.example:443/$iothub/websocket"
)

func TestTLSConnectsByName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		name := make(chan string, 1)
		w.serve[hubMQTT] = secured(ca.server(hub, time.Now().Add(time.Hour)), func(tc *tls.Conn) {
			name <- tc.ConnectionState().ServerName
			_, _ = io.Copy(tc, tc)
		})
		config := ca.trust()
		config.ServerName = "elsewhere.example"
		config.NextProtos = []string{"h2"}
		config.MinVersion = tls.VersionTLS10
		before := config.Clone()
		nc, err := (&Dialer{DialContext: w.dial, TLSConfig: config}).TLS(t.Context(), hubMQTT)
		require.NoError(t, err)
		defer nc.Close()
		assert.Equal(t, hub, <-name)
		_, err = nc.Write([]byte("echo"))
		require.NoError(t, err)
		echo := make([]byte, 4)
		_, err = io.ReadFull(nc, echo)
		require.NoError(t, err)
		assert.Equal(
			t, before.ServerName, config.ServerName, "the caller's configuration is the caller's",
		)
		assert.Equal(t, before.MinVersion, config.MinVersion)
	})
}

func TestNothingIsSentToAServerThatDoesNotVerify(t *testing.T) {
	for _, name := range []string{"unknown authority", "expired", "wrong name"} {
		for _, transport := range []string{"mqtt", "ws"} {
			synctest.Test(t, func(t *testing.T) {
				w, ca := newWorld(t), newAuthority(t)
				cert := ca.server(hub, time.Now().Add(time.Hour))
				switch name {
				case "unknown authority":
					cert = newAuthority(t).server(hub, time.Now().Add(time.Hour))
				case "expired":
					cert = ca.server(hub, time.Now().Add(-time.Minute))
				case "wrong name":
					cert = ca.server("portal.example", time.Now().Add(time.Hour))
				}
				reached := false
				w.serve[hubMQTT] = secured(cert, func(*tls.Conn) { reached = true })
				w.serve[hubWeb] = w.serve[hubMQTT]
				d := &Dialer{DialContext: w.dial, TLSConfig: ca.trust()}
				var err error
				if transport == "ws" {
					_, err = d.WebSocket(t.Context(), hubURL, nil)
				} else {
					_, err = d.TLS(t.Context(), hubMQTT)
				}
				_, ok := errors.AsType[*tls.CertificateVerificationError](err)
				assert.True(t, ok, "%s %s: %v", name, transport, err)
				synctest.Wait()
				assert.False(t, reached)
			})
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	for _, transport := range []string{"mqtt", "ws"} {
		synctest.Test(t, func(t *testing.T) {
			w, ca := newWorld(t), newAuthority(t)
			cert := ca.server(hub, time.Now().Add(time.Hour))
			w.serve[hubMQTT] = func(nc net.Conn) {
				_ = tls.Server(nc, &tls.Config{
					Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10,
					MaxVersion: tls.VersionTLS11,
				}).Handshake()
				_ = nc.Close()
			}
			w.serve[hubWeb] = w.serve[hubMQTT]
			config := ca.trust()
			config.MinVersion = tls.VersionTLS10 // a program that asks for less does not get it
			d := &Dialer{DialContext: w.dial, TLSConfig: config, Proxy: noProxy}
			var err error
			if transport == "ws" {
				_, err = d.WebSocket(t.Context(), hubURL, nil)
			} else {
				_, err = d.TLS(t.Context(), hubMQTT)
			}
			assert.ErrorContains(t, err, "protocol version", transport)
		})
	}
}

func TestInsecureSkipVerifyIsRefusedBeforeAnyDial(t *testing.T) {
	w := newWorld(t)
	d := &Dialer{DialContext: w.dial, TLSConfig: &tls.Config{InsecureSkipVerify: true}}
	_, err := d.TLS(t.Context(), hubMQTT)
	assert.ErrorContains(t, err, "RootCAs")
	_, err = d.WebSocket(t.Context(), hubURL, nil)
	assert.ErrorContains(t, err, "RootCAs")
	assert.Empty(t, w.dialed())
}

func TestTheClientCertificateIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, ca := newWorld(t), newAuthority(t)
		shown := make(chan []*x509.Certificate, 1)
		w.serve[hubMQTT] = secured(ca.server(hub, time.Now().Add(time.Hour)), func(tc *tls.Conn) {
			shown <- tc.ConnectionState().PeerCertificates
		})
		device := ca.server("dev1", time.Now().Add(time.Hour))
		d := &Dialer{DialContext: w.dial, TLSConfig: ca.trust(), Certificate: &device}
		nc, err := d.TLS(t.Context(), hubMQTT)
		require.NoError(t, err)
		defer nc.Close()
		assert.Equal(t, "dev1", (<-shown)[0].Subject.CommonName)
	})
}

func TestDialingIsBoundedByTimeoutAndContext(t *testing.T) {
	cause := errors.New("the program ends")
	dials := map[string]func(*Dialer, context.Context) error{
		"tls": func(d *Dialer, ctx context.Context) error { _, err := d.TLS(ctx, hubMQTT); return err },
		"ws":  func(d *Dialer, ctx context.Context) error { _, err := d.WebSocket(ctx, hubURL, nil); return err },
	}
	// Where it gets stuck.
	stuck := map[string]func(*testing.T, *world, *authority, *Dialer){
		"dial": func(_ *testing.T, _ *world, _ *authority, d *Dialer) {
			d.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		},
		"handshake": func(_ *testing.T, w *world, _ *authority, _ *Dialer) {
			w.serve[hubMQTT], w.serve[hubWeb] = silent, silent
		},
		"proxy": func(_ *testing.T, w *world, _ *authority, d *Dialer) {
			w.serve["proxy.example:3128"] = silent
			d.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: "proxy.example:3128"})
		},
		"https proxy": func(_ *testing.T, w *world, _ *authority, d *Dialer) {
			w.serve["proxy.example:443"] = silent
			d.Proxy = http.ProxyURL(&url.URL{Scheme: "https", Host: "proxy.example"})
		},
		"socks proxy": func(_ *testing.T, w *world, _ *authority, d *Dialer) {
			w.serve["proxy.example:1080"] = silent
			d.Proxy = http.ProxyURL(&url.URL{Scheme: "socks5", Host: "proxy.example:1080"})
		},
		"upgrade": func(_ *testing.T, w *world, ca *authority, _ *Dialer) {
			w.serve[hubWeb] = secured(
				ca.server(hub, time.Now().Add(time.Hour)), func(tc *tls.Conn) { silent(tc) },
			)
		},
		"body of the refusal": func(_ *testing.T, w *world, ca *authority, _ *Dialer) {
			w.serve[hubWeb] = secured(ca.server(hub, time.Now().Add(time.Hour)),
				func(tc *tls.Conn) {
					_, _ = io.WriteString(
						tc, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<html>",
					)
					silent(tc)
				})
		},
	}
	for where, get := range stuck {
		for transport, dial := range dials {
			if transport == "tls" && (where == "upgrade" || where == "body of the refusal") {
				continue
			}
			for _, how := range []string{"timeout", "cancel", "deadline"} {
				synctest.Test(t, func(t *testing.T) {
					w, ca := newWorld(t), newAuthority(t)
					d := &Dialer{DialContext: w.dial, TLSConfig: ca.trust()}
					get(t, w, ca, d)
					ctx, cancel := context.WithCancelCause(t.Context())
					defer cancel(nil)
					want := 30 * time.Second
					switch how {
					case "cancel":
						want = 7 * time.Second
						time.AfterFunc(want, func() { cancel(cause) })
					case "deadline":
						want = 7 * time.Second
						short, stop := context.WithTimeoutCause(ctx, want, cause)
						defer stop()
						ctx = short
					}
					start := time.Now()
					err := dial(d, ctx)
					label := where + " " + transport + " " + how
					require.Error(t, err, label)
					assert.Equal(t, want, time.Since(start), label)
					if where == "body of the refusal" {
						return // the status is known, and worth more
					}
					if how == "timeout" {
						timeout, ok := errors.AsType[*TimeoutError](err)
						if assert.True(t, ok, "%s: %v", label, err) {
							assert.Equal(t, want, timeout.After, label)
						}
					} else {
						assert.ErrorIs(t, err, cause, label)
					}
				})
			}
		}
	}
}

func TestAnUnknownNameIsTold(t *testing.T) {
	w := newWorld(t)
	d := &Dialer{DialContext: w.dial, TLSConfig: &tls.Config{}}
	_, err := d.TLS(t.Context(), hubMQTT)
	dns, ok := errors.AsType[*net.DNSError](err)
	require.True(t, ok)
	assert.True(t, dns.IsNotFound)
	_, err = d.WebSocket(t.Context(), hubURL, nil)
	dns, ok = errors.AsType[*net.DNSError](err)
	require.True(t, ok)
	assert.True(t, dns.IsNotFound)
	assert.Equal(t, []string{hubMQTT, hubWeb}, w.dialed())
}

// The environment's proxy serves WebSocket, and has no say over the MQTT port. It is read once a
// process: a second one looks at another environment.
func TestTheEnvironmentsProxyServesWebSocketOnly(t *testing.T) {
	if os.Getenv("MQTT_TEST_CHILD") != "" {
		d := &Dialer{DialContext: func(_ context.Context, _, address string) (net.Conn, error) {
			_, _ = os.Stdout.WriteString("dialed " + address + "\n")
			return nil, errors.New("no network here")
		}}
		_, _ = d.TLS(t.Context(), hubMQTT)
		_, _ = d.WebSocket(t.Context(), hubURL, nil)
		return
	}
	child := exec.Command(
		os.Args[0], "-test.run=^TestTheEnvironmentsProxyServesWebSocketOnly$", "-test.v",
	)
	child.Env = append(os.Environ(), "MQTT_TEST_CHILD=1", "HTTPS_PROXY=http://proxy.example:3128",
		"all_proxy=socks5://socks.example:1080", "ALL_PROXY=socks5://socks.example:1080", "NO_PROXY=", "no_proxy=", "https_proxy=")
	out, err := child.CombinedOutput()
	require.NoError(t, err, "%s", out)
	var dialed []string
	for line := range strings.Lines(string(out)) {
		if address, ok := strings.CutPrefix(strings.TrimSpace(line), "dialed "); ok {
			dialed = append(dialed, address)
		}
	}
	assert.Equal(t, []string{hubMQTT, "proxy.example:3128"}, dialed)
}
