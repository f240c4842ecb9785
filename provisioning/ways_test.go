// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
)

// Networks that let one port through and not the other.

// way is the state of one port on the way to a service.
type way string

const (
	wayOpen    way = "open"
	wayRefused way = "refused"
	wayDropped way = "dropped"
	wayReset   way = "reset"
	wayPortal  way = "portal" // somebody else's certificate
)

const (
	firstTry     = 15 * time.Second
	daily        = 24 * time.Hour
	switchedLine = "transport switched"
)

var ways = []way{wayOpen, wayRefused, wayDropped, wayReset, wayPortal}

// setWays sets both ports of a host.
func (r *rig) setWays(host string, https, mqtt way) {
	for port, w := range map[simnet.Port]way{simnet.PortHTTPS: https, simnet.PortMQTT: mqtt} {
		r.network.SetPortFault(host, port, map[way]simnet.Fault{
			wayRefused: simnet.Refused, wayDropped: simnet.Blackhole,
			wayReset: simnet.ResetOnAccept,
		}[w])
		kind := simnet.Valid
		if w == wayPortal {
			kind = simnet.UnknownCA
		}
		r.network.SetPortCertificate(host, port, kind)
	}
}

// portDials counts dials to both ports of a host, from its making.
type portDials struct {
	r           *rig
	host        string
	https, mqtt int
}

func (r *rig) countDials(host string) *portDials {
	return &portDials{
		r, host, r.network.PortDials(host, simnet.PortHTTPS),
		r.network.PortDials(host, simnet.PortMQTT),
	}
}

func (d *portDials) require(https, mqtt int, what ...any) {
	d.r.t.Helper()
	now := d.r.countDials(d.host)
	require.Equal(
		d.r.t, [2]int{https, mqtt}, [2]int{now.https - d.https, now.mqtt - d.mqtt}, what...,
	)
}

func (l *lines) count(text string) int { return strings.Count(l.String(), text) }

// eachPair runs f for each state of both ports, with the transports left open.
func eachPair(t *testing.T, w wiring, f func(t *testing.T, r *rig, https, mqtt way)) {
	for i, https := range ways {
		for j, mqtt := range ways {
			if testing.Short() && (i+j)%3 != 0 {
				continue
			}
			t.Run("443 "+string(https)+", 8883 "+string(mqtt), func(t *testing.T) {
				each(t, []wiring{w}, func(t *testing.T, r *rig) { f(t, r, https, mqtt) })
			})
		}
	}
}

// within is how long a device may take that has to give up the first of two ports.
func within(first way) time.Duration {
	if first == wayDropped {
		return firstTry
	}
	return 0
}

// attemptLog is when each address was dialled.
type attemptLog struct {
	mu  sync.Mutex
	all map[string][]dialled
}

type dialled struct{ began, ended time.Duration }

func (l *attemptLog) watch(r *rig, dev *provisioning.Device) *attemptLog {
	open := dev.DialContext
	l.all = map[string][]dialled{}
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := dialled{began: r.elapsed()}
		nc, err := open(ctx, network, address)
		d.ended = r.elapsed()
		l.mu.Lock()
		defer l.mu.Unlock()
		l.all[address] = append(l.all[address], d)
		return nc, err
	}
	return l
}

func (l *attemptLog) of(address string) []dialled {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]dialled(nil), l.all[address]...)
}

// inspected is a site behind a proxy that answers its HTTPS requests with a page of its own. The
// device trusts the proxy's authority, so that its certificate is as good as the service's.
type inspected struct {
	simnet.Site
	status int
}

func (p inspected) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Location", "https://portal.example/")
	w.WriteHeader(p.status)
	_, _ = io.WriteString(w, "<html>please log in</html>")
}

// firewalled ends each connection to a port once there is anything but a handshake on it.
func firewalled(dev *provisioning.Device, port string) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := open(ctx, network, address)
		if err == nil && strings.HasSuffix(address, port) {
			nc = handshakeOnly{nc}
		}
		return nc, err
	}
}

type handshakeOnly struct{ net.Conn }

func (c handshakeOnly) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == 23 { // application data, RFC 8446 §5.1
		_ = c.Close()
		return 0, errors.New("cut by the firewall")
	}
	return c.Conn.Write(b)
}

// slowTo delays each connection to a port.
func slowTo(dev *provisioning.Device, port string, by time.Duration) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, port) {
			select {
			case <-time.After(by):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return open(ctx, network, address)
	}
}

// blackholed loses all that is sent to a port after the handshake.
func blackholed(dev *provisioning.Device, port string) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := open(ctx, network, address)
		if err == nil && strings.HasSuffix(address, port) {
			nc = handshakeAlone{nc}
		}
		return nc, err
	}
}

type handshakeAlone struct{ net.Conn }

func (c handshakeAlone) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0] == 23 { // application data, RFC 8446 §5.1
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// shortLived cuts each connection to a port that has lasted for 2 s.
func shortLived(dev *provisioning.Device, port string) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := open(ctx, network, address)
		if err == nil && strings.HasSuffix(address, port) {
			time.AfterFunc(2*time.Second, func() { _ = nc.Close() })
		}
		return nc, err
	}
}
