// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// clientSite is an endpoint that does what a test wants.
type clientSite struct {
	http.HandlerFunc
	mqtt func(net.Conn)
}

func (s clientSite) ServeMQTT(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	if s.mqtt != nil {
		s.mqtt(nc)
	}
}

const clientAssigned = `{"operationId":"5.a.b","status":"assigned","registrationState":{"assignedHub":"h.example.net","deviceId":"d"}}`

func TestHTTPSRequestsAreThoseOfTheServicesAPI(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		var seen []string
		site := func(rw http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			seen = append(seen, r.Method+" "+r.RequestURI+" "+r.Host+" "+string(body))
			assert.Equal(w, "thermostat/1.0", r.UserAgent())
			assert.Equal(w, "application/json", r.Header.Get("Accept"))
			assert.Equal(w, 1, r.ProtoMajor)
			if r.Method == http.MethodGet {
				assert.Empty(w, r.Header.Get("Content-Type"))
			} else {
				assert.Equal(w, "application/json; charset=utf-8", r.Header.Get("Content-Type"))
			}
			authorization := r.Header.Get("Authorization")
			assert.True(w, strings.HasSuffix(authorization, "&skn=registration"), authorization)
			token, err := sas.Parse(authorization)
			if assert.NoError(w, err) {
				assert.Equal(w, "0ne00000001/registrations/urn:sensor", token.Resource)
				assert.WithinDuration(w, time.Now().Add(time.Hour), token.Expiry, time.Second)
				key, _ := base64.StdEncoding.DecodeString(clientCanary)
				assert.True(w, token.Verify(key))
			}
			switch r.Method {
			case http.MethodPut:
				rw.Header().Set("Location", "https://elsewhere.example.net/")
				rw.WriteHeader(http.StatusAccepted)
				_, _ = io.WriteString(rw, `{"operationId":"5.a/b c?d","status":"assigning"}`)
			case http.MethodGet:
				_, _ = io.WriteString(rw, clientAssigned)
			default:
				_, _ = io.WriteString(
					rw, `{"status":"assigned","assignedHub":"h.example.net","deviceId":"d"}`,
				)
			}
		}
		w.network.Handle("dps.example.net", clientSite{HandlerFunc: site})
		w.client.Endpoint = "dps.example.net"
		w.client.UserAgent = "thermostat/1.0"
		w.client.Attestation = dps.SymmetricKey{ID: "urn:sensor", Key: clientCanary}

		// An operation ID with a blank in it is not accepted, so a hostile answer cannot shape the
		// next request.
		_, err := w.client.Register(
			w.Context(), dps.Registration{Payload: map[string]string{"model": "x"}},
		)
		require.ErrorContains(w, err, "operationId")
		_, err = w.client.Register(w.Context(), dps.Registration{OperationID: "5.a/b?c"})
		require.NoError(w, err)
		_, err = w.client.Lookup(w.Context())
		require.NoError(w, err)
		assert.Equal(w, []string{
			`PUT /0ne00000001/registrations/urn%3Asensor/register?api-version=2021-06-01 dps.example.net {"registrationId":"urn:sensor","payload":{"model":"x"}}`,
			`GET /0ne00000001/registrations/urn%3Asensor/operations/5.a%2Fb%3Fc?api-version=2021-06-01 dps.example.net `,
			`POST /0ne00000001/registrations/urn%3Asensor?api-version=2021-06-01 dps.example.net {"registrationId":"urn:sensor"}`,
		}, seen)
	})
}

func TestHTTPSFollowsNoRedirect(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		hits := 0
		w.network.Handle("thief.example.net", clientSite{
			HandlerFunc: func(http.ResponseWriter, *http.Request) { hits++ },
		})
		w.network.Handle("dps.example.net", clientSite{
			HandlerFunc: func(rw http.ResponseWriter, r *http.Request) {
				http.Redirect(rw, r, "https://thief.example.net"+r.URL.Path, http.StatusTemporaryRedirect)
			},
		})
		w.client.Endpoint = "dps.example.net"
		for _, ask := range []func() error{
			func() error { _, err := w.client.Register(w.Context(), dps.Registration{}); return err },
			func() error { _, err := w.client.Lookup(w.Context()); return err },
		} {
			err := ask()
			require.ErrorContains(w, err, "status 307")
			assert.Equal(w, retry.Wait, retry.Classify(err))
		}
		_, err := w.client.Time(w.Context())
		require.NoError(w, err, "a redirect has a date too")
		assert.Zero(w, hits)
	})
}

func TestHTTPSAnswerCutShort(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, CutAfter: 20})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, retry.Wait, failure.Verdict())
		assert.ErrorIs(w, failure, io.ErrUnexpectedEOF)
		assert.ErrorContains(w, failure, "cut short")
		assert.Equal(w, 202, failure.Status)
		assert.True(w, failure.Answered())
		assert.WithinDuration(w, time.Now(), failure.Date, time.Second, "its header arrived")
	})
}

func TestHTTPSCutAtAnyByteIsNoAssignment(t *testing.T) {
	for cut := 1; cut < 9000; cut += 251 {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.network.CutAfter(dpstest.GlobalEndpoint, cut)
			assignment, err := w.client.Register(w.Context(), dps.Registration{})
			if err != nil {
				assert.Equal(w, retry.Wait, retry.Classify(err), "%v", err)
				assert.Zero(w, assignment)
			} else {
				assert.Equal(w, clientHub, assignment.Hub)
			}
			assert.LessOrEqual(w, w.elapsed(), 6*time.Second, "a cut is seen at once")
		})
	}
}

func TestMQTTNamesItselfAsTheServiceAsks(t *testing.T) {
	clientBubble(t, dps.MQTT, dpstest.Config{}, func(w *clientWorld) {
		var connect []byte
		w.network.Handle("dps.example.net", clientSite{mqtt: func(nc net.Conn) {
			connect = make([]byte, 512)
			n, _ := nc.Read(connect)
			connect = connect[:n]
		}})
		w.client.Endpoint = "dps.example.net"
		w.client.UserAgent = "thermostat/1.0 (a&b)"
		failure, err := w.client.Register(w.Context(), dps.Registration{})
		require.Error(w, err)
		assert.Zero(w, failure)
		synctest.Wait()
		text := string(connect)
		assert.Contains(
			w, text, "MQTT\x04\xc2", "version 3.1.1, clean session, user name and password",
		)
		assert.Contains(w, text, "\x00\x0asensor-042")
		assert.Contains(w, text, "0ne00000001/registrations/sensor-042/api-version=2021-06-01&"+
			"ClientVersion=thermostat%2F1.0%20%28a%26b%29")
		assert.Contains(
			w, text, "SharedAccessSignature sr=0ne00000001%2Fregistrations%2Fsensor-042&",
		)
	})
}

// clientProxy is an HTTP proxy, in the bubble's own network, that does CONNECT.
type clientProxy struct {
	w      *clientWorld
	refuse int // status to answer with, 0 = tunnel
	done   sync.WaitGroup

	mu   sync.Mutex
	asks []string
}

func newClientProxy(w *clientWorld) *clientProxy {
	p := &clientProxy{w: w}
	direct := w.client.DialContext
	w.client.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != "proxy.example.net:3128" {
			return direct(ctx, network, address)
		}
		client, server := memnet.Pipe("device", "proxy")
		p.done.Go(func() { p.serve(server) })
		return client, nil
	}
	w.client.Proxy = func(r *http.Request) (*url.URL, error) {
		return &url.URL{
			Scheme: "http", User: url.UserPassword("user", "pass"), Host: "proxy.example.net:3128",
		}, nil
	}
	w.Cleanup(p.done.Wait)
	return p
}

func (p *clientProxy) serve(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	request, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil {
		return
	}
	p.mu.Lock()
	p.asks = append(
		p.asks, request.Method+" "+request.Host+" "+request.Header.Get("Proxy-Authorization"),
	)
	p.mu.Unlock()
	if p.refuse != 0 {
		_, _ = fmt.Fprintf(
			nc, "HTTP/1.1 %d No\r\nContent-Length: 0\r\nRetry-After: 99\r\n\r\n", p.refuse,
		)
		return
	}
	server, err := p.w.network.DialContext(p.w.Context(), "tcp", request.Host)
	if err != nil {
		_, _ = io.WriteString(nc, "HTTP/1.1 502 No\r\n\r\n")
		return
	}
	_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
	var both sync.WaitGroup
	both.Go(func() { _, _ = io.Copy(server, nc); _ = server.Close() })
	both.Go(func() { _, _ = io.Copy(nc, server); _ = nc.Close() })
	both.Wait()
}

func TestProxyCarriesHTTPSWebSocketAndMQTT(t *testing.T) {
	for _, transport := range []dps.Transport{dps.HTTPS, dps.MQTTWebSocket} {
		t.Run(transport.String(), func(t *testing.T) {
			clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
				proxy := newClientProxy(w)
				assert.Equal(w, clientHub, w.register(dps.Registration{}).Hub)
				_, err := w.client.Lookup(w.Context())
				require.NoError(w, err)
				_, err = w.client.Time(w.Context())
				require.NoError(w, err)
				ask := "CONNECT global.azure-devices-provisioning.net:443 Basic " +
					base64.StdEncoding.EncodeToString([]byte("user:pass"))
				assert.Equal(w, []string{ask, ask, ask}, proxy.asks)
			})
		})
	}
	for scheme, asks := range map[string]int{"https": 0, "mqtts": 1} {
		clientBubble(t, dps.MQTT, dpstest.Config{}, func(w *clientWorld) {
			proxy := newClientProxy(w)
			every := w.client.Proxy
			w.client.Proxy = func(r *http.Request) (*url.URL, error) {
				if r.URL.Scheme != scheme {
					return nil, nil
				}
				return every(r)
			}
			w.register(dps.Registration{})
			assert.Len(w, proxy.asks, asks, "the MQTT port has a scheme of its own")
		})
	}
}

func TestProxyThatRefusesIsNoWordOfTheService(t *testing.T) {
	for _, transport := range []dps.Transport{dps.HTTPS, dps.MQTTWebSocket, dps.MQTT} {
		for _, status := range []int{401, 403, 407, 502} {
			clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
				newClientProxy(w).refuse = status
				failure := w.refused(dps.Registration{})
				assert.Equal(w, retry.Wait, failure.Verdict(), "%v", failure)
				assert.Zero(w, failure.Status)
				assert.NotContains(w, failure.Error(), "pass")
				assert.Zero(w, w.dps.Count())
			})
		}
	}
}
