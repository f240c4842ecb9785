// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// clientFirewall drops what goes to one port.
func clientFirewall(w *clientWorld, port string) {
	direct := w.client.DialContext
	w.client.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, p, _ := net.SplitHostPort(address); p == port {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return direct(ctx, network, address)
	}
}

func TestResolvesAsksOnThePortThatTheTransportUses(t *testing.T) {
	for transport, blocked := range map[dps.Transport]string{
		dps.HTTPS: "8883", dps.MQTT: "443", dps.MQTTWebSocket: "8883",
	} {
		t.Run(transport.String(), func(t *testing.T) {
			clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
				clientFirewall(w, blocked)
				assert.True(w, w.client.Resolves(w.Context()), "port %s is closed", blocked)
				assert.Zero(w, w.elapsed())
				assert.Zero(w, w.dps.Count(), "nothing is sent")
			})
		})
	}
}

func TestResolvesTellsANameThatExistsFromOneThatDoesNot(t *testing.T) {
	for fault, want := range map[simnet.Fault]bool{
		simnet.None: true, simnet.Refused: true, simnet.NameNotFound: false,
		simnet.NameFailure: false, simnet.Blackhole: false,
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.network.SetFault(dpstest.GlobalEndpoint, fault)
			assert.Equal(w, want, w.client.Resolves(w.Context()), fault)
			assert.LessOrEqual(w, w.elapsed(), 30*time.Second)
		})
	}
}

func TestResolvesAsksTheDevicesOwnResolverAndNoProxy(t *testing.T) {
	for _, transport := range clientTransports {
		clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
			w.client.Proxy = func(*http.Request) (*url.URL, error) {
				w.Error("the proxy was asked for")
				return nil, errors.New("no proxy")
			}
			assert.True(w, w.client.Resolves(w.Context()))
		})
	}
}

func TestResolvesKnowsANameWhoseAddressNeverAnswers(t *testing.T) {
	for name, failed := range map[string]*net.OpError{
		"an address": {Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}},
		"no address": {Op: "dial", Net: "tcp"},
		"no name": {
			Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", IsNotFound: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := &dps.Client{
					DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
						<-ctx.Done()
						late := *failed
						if late.Err == nil {
							late.Err = ctx.Err()
						}
						return nil, &late
					},
				}
				start := time.Now()
				assert.Equal(t, name == "an address", client.Resolves(t.Context()))
				assert.Equal(t, 30*time.Second, time.Since(start))

				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				assert.False(t, client.Resolves(ctx), "the caller has ended")
				assert.Equal(t, 31*time.Second, time.Since(start))
			})
		})
	}
}
