// SPDX-License-Identifier: Apache-2.0

package https_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/memnet"
)

// site is a host that serves HTTPS and nothing else.
type site struct{ http.HandlerFunc }

func (site) ServeMQTT(nc net.Conn) { _ = nc.Close() }

const (
	host = "service.example.net"
	root = "https://" + host + "/"
)

// visit runs a test in a bubble, with a Conn to a host that a handler serves.
func visit(
	t *testing.T, handler http.HandlerFunc, test func(*testing.T, *simnet.Network, *https.Conn),
) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		defer func() { assert.NoError(t, network.Close()) }()
		network.Handle(host, site{handler})
		conn, err := https.Open(options(network))
		require.NoError(t, err)
		defer conn.Close()
		test(t, network, conn)
	})
}

func options(network *simnet.Network) https.Options {
	return https.Options{
		DialContext: network.DialContext,
		TLSConfig:   network.TLSConfig(),
		Proxy:       func(*http.Request) (*url.URL, error) { return nil, nil },
		UserAgent:   "thermostat/1.0",
	}
}

func get(t *testing.T, conn *https.Conn) (https.Response, error) {
	t.Helper()
	return conn.Do(t.Context(), https.Request{
		Method: http.MethodGet, URL: root, Limit: 30 * time.Second,
	})
}

func TestARequestIsSentAsItIsAndItsResponseReadToItsEnd(t *testing.T) {
	visit(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		assert.Equal(t, "PUT /a%2Fb?c=d hello thermostat/1.0 secret",
			strings.Join([]string{
				r.Method, r.RequestURI, string(body), r.UserAgent(), r.Header.Get("Authorization"),
			}, " "))
		assert.Equal(t, 1, r.ProtoMajor)
		w.Header().Set("Retry-After", "7")
		w.Header().Set("X-Ms-Request-Id", "tracking")
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, "world")
	}, func(t *testing.T, network *simnet.Network, conn *https.Conn) {
		r, err := conn.Do(t.Context(), https.Request{
			Method: http.MethodPut, URL: root + "a%2Fb?c=d", Body: []byte("hello"),
			Header: http.Header{"Authorization": {"secret"}},
		})
		require.NoError(t, err)
		assert.Equal(t, http.StatusAccepted, r.Status)
		assert.Equal(t, "world", string(r.Body))
		assert.Equal(t, "7", r.RetryAfter)
		assert.Equal(t, "tracking", r.RequestID)
		assert.WithinDuration(t, network.Now(), r.Date, time.Second)
		assert.NotEmpty(t, r.Chains)
	})
}

func TestTheConnectionIsKeptUnlessItIsForOneRequest(t *testing.T) {
	for single, dials := range map[bool]int{false: 1, true: 3} {
		visit(t, func(http.ResponseWriter, *http.Request) {
		}, func(t *testing.T, network *simnet.Network, _ *https.Conn) {
			o := options(network)
			o.Single = single
			conn, err := https.Open(o)
			require.NoError(t, err)
			defer conn.Close()
			for range 3 {
				_, err := get(t, conn)
				require.NoError(t, err)
			}
			assert.Equal(t, dials, network.Dials(host), "single: %v", single)
		})
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	visit(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "https://thief.example.net/", http.StatusTemporaryRedirect)
	}, func(t *testing.T, network *simnet.Network, conn *https.Conn) {
		network.Handle("thief.example.net", site{func(http.ResponseWriter, *http.Request) {
			t.Error("the credential was sent on")
		}})
		r, err := get(t, conn)
		require.NoError(t, err)
		assert.Equal(t, http.StatusTemporaryRedirect, r.Status)
	})
}

func TestABodyIsLimited(t *testing.T) {
	for size, fits := range map[int]bool{
		https.MaxBody: true, https.MaxBody + 1: false, 1 << 24: false,
	} {
		visit(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write(make([]byte, size))
		}, func(t *testing.T, _ *simnet.Network, conn *https.Conn) {
			r, err := get(t, conn)
			assert.Equal(t, http.StatusOK, r.Status)
			if fits {
				require.NoError(t, err)
				assert.Len(t, r.Body, size)
				return
			}
			bad, ok := errors.AsType[*https.BodyError](err)
			require.True(t, ok, "%v", err)
			assert.EqualError(t, bad, "the answer is longer than 131072 bytes")
			assert.Empty(t, r.Body)
		})
	}
}

func TestAHeaderIsLimited(t *testing.T) {
	visit(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 100<<10))
	}, func(t *testing.T, _ *simnet.Network, conn *https.Conn) {
		r, err := get(t, conn)
		require.Error(t, err)
		assert.Zero(t, r)
	})
}

func TestABodyThatIsCutShortIsAnErrorWithTheHeader(t *testing.T) {
	visit(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "only the start")
	}, func(t *testing.T, _ *simnet.Network, conn *https.Conn) {
		r, err := get(t, conn)
		assert.Equal(t, http.StatusUnauthorized, r.Status)
		assert.Empty(t, r.Body)
		bad, ok := errors.AsType[*https.BodyError](err)
		require.True(t, ok, "%v", err)
		assert.ErrorIs(t, bad, io.ErrUnexpectedEOF)
		assert.ErrorContains(t, bad, "the answer is cut short")
	})
}

func TestARequestEndsAtItsLimitOrWithTheCallersCause(t *testing.T) {
	gone := errors.New("the device sleeps")
	silent := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	slow := func(w http.ResponseWriter, r *http.Request) { // its header comes, its body does not
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
	for name, handler := range map[string]http.HandlerFunc{"no response": silent, "no body": slow} {
		t.Run(name, func(t *testing.T) {
			visit(t, handler, func(t *testing.T, _ *simnet.Network, conn *https.Conn) {
				start := time.Now()
				_, err := get(t, conn)
				assert.ErrorIs(t, err, https.TimeoutError(30*time.Second))
				assert.EqualError(t, err, "no answer within 30s")
				timeout, ok := errors.AsType[net.Error](err)
				require.True(t, ok)
				assert.True(t, timeout.Timeout())
				assert.Equal(t, 30*time.Second, time.Since(start))

				ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, gone)
				defer cancel()
				_, err = conn.Do(ctx, https.Request{
					Method: http.MethodGet, URL: root, Limit: time.Minute,
				})
				assert.ErrorIs(t, err, gone)
				assert.Equal(t, 31*time.Second, time.Since(start))
			})
		})
	}
}

func TestNothingIsSentToAServerThatDoesNotVerify(t *testing.T) {
	visit(t, func(http.ResponseWriter, *http.Request) {
		t.Error("the request was sent")
	}, func(t *testing.T, network *simnet.Network, conn *https.Conn) {
		network.SetCertificate(host, simnet.UnknownCA)
		_, err := get(t, conn)
		_, ok := errors.AsType[*tls.CertificateVerificationError](err)
		assert.True(t, ok, "%v", err)
		_, err = https.Open(https.Options{TLSConfig: &tls.Config{InsecureSkipVerify: true}})
		assert.ErrorContains(t, err, "InsecureSkipVerify")
	})
}

func TestNoErrorQuotesTheURLOrTheProxySetting(t *testing.T) {
	visit(t, func(http.ResponseWriter, *http.Request) {
	}, func(t *testing.T, network *simnet.Network, conn *https.Conn) {
		network.SetFault(host, simnet.Refused)
		for _, target := range []string{
			root + "?sig=canary", "https://canary:canary@%zz/", "ca nary://x", "https://\x00canary",
		} {
			_, err := conn.Do(t.Context(), https.Request{Method: http.MethodGet, URL: target})
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "canary:", target)
			assert.NotContains(t, err.Error(), "sig=", target)
		}
		o := options(network)
		o.Proxy = func(*http.Request) (*url.URL, error) {
			return nil, errors.New(`invalid proxy address "http://user:canary@proxy"`)
		}
		conn, err := https.Open(o)
		require.NoError(t, err)
		_, err = get(t, conn)
		require.ErrorContains(t, err, "proxy setting")
		assert.NotContains(t, err.Error(), "canary")
	})
}

func TestAProxysRefusalIsNoResponse(t *testing.T) {
	for _, status := range []int{401, 403, 407, 502} {
		visit(t, func(http.ResponseWriter, *http.Request) {
			t.Error("there is no tunnel")
		}, func(t *testing.T, network *simnet.Network, _ *https.Conn) {
			o := options(network)
			o.Proxy = func(*http.Request) (*url.URL, error) {
				user := url.UserPassword("user", "canary")
				return &url.URL{Scheme: "http", User: user, Host: "proxy.example.net:3128"}, nil
			}
			o.DialContext = func(_ context.Context, _, address string) (net.Conn, error) {
				assert.Equal(t, "proxy.example.net:3128", address)
				client, server := memnet.Pipe("device", "proxy")
				go refuse(server, status)
				return client, nil
			}
			conn, err := https.Open(o)
			require.NoError(t, err)
			defer conn.Close()
			r, err := get(t, conn)
			require.Error(t, err)
			assert.Zero(t, r)
			assert.NotContains(t, err.Error(), "canary")
		})
	}
}

func refuse(nc net.Conn, status int) {
	defer func() { _ = nc.Close() }()
	_, _ = nc.Read(make([]byte, 4<<10))
	_, _ = fmt.Fprintf(nc, "HTTP/1.1 %d No\r\nContent-Length: 0\r\nRetry-After: 99\r\n\r\n", status)
}

func TestWhoseResponseItIs(t *testing.T) {
	header := http.Header{"Iothub-Errorcode": {"ServerError"}, "Date": {"yesterday"}}
	r := https.NewResponse(502, header, nil)
	assert.True(t, r.Marked("iothub-errorcode"))
	assert.False(t, r.Marked("X-Ms-Request-Id"))
	assert.Zero(t, r.Date)
	assert.True(t, https.IsHTML([]byte("\r\n <!doctype html>")))
	assert.False(t, https.IsHTML([]byte(`{"message":"<html>"}`)))
	assert.False(t, https.IsHTML(nil))
}
