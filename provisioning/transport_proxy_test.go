// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/memnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// onlyProxy is a plant's network: no name but the proxy's is known, which connects to port 443.
func onlyProxy(r *rig, dev *provisioning.Device, direct way) {
	const address = "proxy.example:3128"
	dev.Proxy = proxyAt("http://" + address) // which lets port 8883 through to nobody
	if direct == wayDropped {
		dev.Proxy = func(r *http.Request) (*url.URL, error) {
			if r.URL.Scheme == "mqtts" {
				return nil, nil
			}
			return proxyAt("http://" + address)(r)
		}
	}
	dev.DialContext = func(ctx context.Context, _, to string) (net.Conn, error) {
		if to != address {
			if direct == wayDropped {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			name, _, _ := net.SplitHostPort(to)
			return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
		}
		client, server := memnet.Pipe("device:50000", address)
		go connectThrough(r, server)
		return client, nil
	}
}

// connectThrough serves one CONNECT, until an end of the tunnel closes.
func connectThrough(r *rig, nc net.Conn) {
	defer nc.Close()
	request, err := http.ReadRequest(bufio.NewReader(nc))
	if err != nil || request.Method != http.MethodConnect || request.URL.Port() != "443" {
		_, _ = io.WriteString(nc, "HTTP/1.1 403 Forbidden\r\n\r\n")
		return
	}
	to, err := r.network.DialContext(context.Background(), "tcp", request.Host)
	if err != nil {
		_, _ = io.WriteString(nc, "HTTP/1.1 502 Bad Gateway\r\n\r\n")
		return
	}
	_, _ = io.WriteString(nc, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		defer to.Close()
		_, _ = io.Copy(to, nc)
	}()
	_, _ = io.Copy(nc, to)
}

func TestAPlantThatLetsAProxyOutAlone(t *testing.T) {
	for direct, first := range map[way]time.Duration{wayRefused: 0, wayDropped: firstTry} {
		t.Run("8883 "+string(direct), func(t *testing.T) {
			each(t, autoWiring, func(t *testing.T, r *rig) {
				dev := r.device()
				onlyProxy(r, dev, direct)
				stop := r.run(dev)
				between(t, first, first+10*time.Second, r.await(0, time.Minute).at)
				require.Equal(t, hubconn.MQTTWebSocket, dev.Status().HubTransport)
				require.Equal(t, dps.HTTPS, dev.Status().DPSTransport)
				stop()
				require.Equal(t, 1, r.asked(dpstest.Register))

				// a name that the proxy knows is no hub that is gone
				r.reset()
				r.setWays(hubA, wayRefused, wayOpen)
				dev = r.device()
				onlyProxy(r, dev, direct)
				stop = r.run(dev)
				time.Sleep(10 * time.Minute)
				stop()
				require.Zero(t, r.asked())
			})
		})
	}
}
