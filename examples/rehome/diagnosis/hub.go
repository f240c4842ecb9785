// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

// hubFinding is what the hub had to say.
type hubFinding struct {
	host string
	err  error
	over hubconn.Transport

	second bool // the first credential was rejected, and the second was not

	// reason is what the hub says over HTTPS to a device that it has turned away, which a CONNACK
	// does not; nil if it was not asked.
	reason *hubconn.Error
}

// firstTry is how long the first of two transports has, as the device's.
const firstTry = 15 * time.Second

// errEnough ends an attempt once TLS is there.
var errEnough = errors.New("not connected, as asked")

// tried says that the connection was tried to its end.
func (f hubFinding) tried() bool { return f.host != "" && !errors.Is(f.err, errEnough) }

// connect goes the way to the hub and reports it.
func (d *doctor) connect(ctx context.Context, hub hubconn.Hub) {
	d.hub.host, d.hub.over = hub.Host, d.Device.Hub.Transport
	limit := d.Device.Hub.DialTimeout
	auto := d.hub.over == hubconn.Auto
	if auto {
		d.hub.over = hubconn.MQTT
		if limit == 0 {
			limit = firstTry
		}
	}
	r, took := d.attempt(ctx, hub, limit)
	var saw []string
	if auto && r.tls == nil && r.nameErr == nil { // as the device does
		saw = []string{d.closed(r) + "; the device goes on over websocket"}
		d.hub.over = hubconn.MQTTWebSocket
		r, took = d.attempt(ctx, hub, d.Device.Hub.DialTimeout)
	}
	if first := d.hub.err; hubconn.ClassOf(first) == hubconn.Rejected && d.second() {
		again, tookAgain := d.attempt(ctx, hub, limit)
		if d.hub.second = hubconn.ClassOf(d.hub.err) != hubconn.Rejected; d.hub.second {
			r, took = again, tookAgain
		} else {
			d.hub.err = first
			d.first()
		}
	}
	if hubconn.ClassOf(d.hub.err) == hubconn.Rejected && r.tls != nil {
		d.askReason(ctx, hub)
	}
	d.reportHub(ctx, r, took, saw)
}

// closed tells, in one line, why nobody was reached over MQTT.
func (d *doctor) closed(r *route) string {
	w := hubWay(hubconn.MQTT)
	if r.tcpErr != nil {
		cause, _ := r.explainTCP(w)
		return cause
	}
	return "port 8883: " + r.tlsStep(w, d.clock, d.hub.err).Cause
}

func hubWay(over hubconn.Transport) way {
	w := way{
		name: StepHubName, proxy: StepHubProxy, tcp: StepHubTCP, tls: StepHubTLS,
		service: "the hub", port: "8883",
	}
	if over == hubconn.MQTTWebSocket {
		w.port = "443"
	}
	return w
}

// dialer connects as the device's, and is watched.
func (d *doctor) dialer(host string) (*hubconn.Dialer, *route) {
	r, w := d.watch(host)
	dialer := d.Device.Hub
	dialer.DialContext, dialer.TLSConfig, dialer.Proxy = w.dial, w.tls, w.proxy
	dialer.Transport, dialer.Logger = d.hub.over, nil
	if dialer.UserAgent == "" {
		dialer.UserAgent = d.Device.UserAgent
	}
	return &dialer, r
}

// attempt connects once, and closes the connection.
func (d *doctor) attempt(
	ctx context.Context, hub hubconn.Hub, limit time.Duration,
) (*route, time.Duration) {
	dialer, r := d.dialer(hub.Host)
	dialer.DialTimeout = limit
	if d.NoConnect || d.onlyDeviceConnects() || !d.stored.HubRetryAfter.IsZero() {
		verify := dialer.TLSConfig.VerifyConnection
		dialer.TLSConfig.VerifyConnection = func(state tls.ConnectionState) error {
			if err := verify(state); err != nil {
				return err
			}
			return errEnough
		}
	}
	began := time.Now()
	conn, err := dialer.Dial(ctx, hub, d.shown)
	took := time.Since(began)
	if err == nil {
		_ = conn.Close()
	}
	d.hub.err = err
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, took
}

// onlyDeviceConnects: the certificate that was issued to a device is the device's own to show.
func (d *doctor) onlyDeviceConnects() bool {
	return d.stored.Credential == provisioning.CredentialIssued
}

// askReason asks the hub over HTTPS why it has turned the device away. It changes nothing there.
func (d *doctor) askReason(ctx context.Context, hub hubconn.Hub) {
	dialer, _ := d.dialer(hub.Host)
	delivery, err := dialer.Receive(ctx, hub, d.shown)
	if delivery != nil {
		_ = delivery.Abandon(ctx) // it lets the device in after all
	}
	d.hub.reason, _ = errors.AsType[*hubconn.Error](err)
}

// reportHub reports the way to the hub, and what it said.
func (d *doctor) reportHub(ctx context.Context, r *route, took time.Duration, saw []string) {
	w := hubWay(d.hub.over)
	d.report(r.nameStep(w))
	if s, ok := r.proxyStep(w); ok {
		d.report(s)
	}
	tcp := r.tcpStep(w)
	tcp.Saw = append(saw, tcp.Saw...)
	if d.hub.over == hubconn.MQTT && tcp.Result == OK && r.proxy == nil {
		if d.probe(ctx, net.JoinHostPort(d.hub.host, "443")) == nil {
			tcp.Saw = append(tcp.Saw, "port 443, for websocket, is open too")
		} else {
			tcp.Saw = append(tcp.Saw, "port 443, for websocket, is closed: it is not needed")
		}
	}
	d.report(tcp)
	d.report(r.tlsStep(w, d.clock, d.hub.err))
	d.report(d.hubStep(r, took-r.nameTook-r.tcpTook-r.tlsTook))
}
