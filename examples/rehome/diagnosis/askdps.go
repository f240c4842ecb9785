// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// dpsFinding is what DPS had to say.
type dpsFinding struct {
	asked      bool
	assignment dps.Assignment
	err        error
	reached    bool   // TLS was established
	second     bool   // the first credential was refused, and the second was not
	closed     string // why a registration did not take the port of HTTPS
}

// assigned says that DPS has named a hub.
func (f dpsFinding) assigned() bool { return f.err == nil && f.assignment.Hub != "" }

// refused says that DPS does not accept the credential.
func (f dpsFinding) refused() bool {
	e := f.failure()
	return e != nil && e.Answered() && (e.Status == 401 || e.Status == 403 || e.ReturnCode != 0)
}

// leftAlone says why a service is not asked: the device would not do it either.
func leftAlone(service string, until time.Time) string {
	return service + " has asked the device to leave it alone until " +
		until.UTC().Format(time.RFC3339)
}

// failure is DPS's own answer, where it has refused; nil if it has not answered.
func (f dpsFinding) failure() *dps.Error {
	failure, ok := errors.AsType[*dps.Error](f.err)
	if !ok || failure.Status == 0 && failure.ReturnCode == 0 && failure.State == "" {
		return nil
	}
	return failure
}

// askDPS asks DPS where the device belongs, and reports the way there, the clock and the answer.
func (d *doctor) askDPS(ctx context.Context) {
	if until := d.stored.DPSRetryAfter; !until.IsZero() {
		for _, name := range []string{StepDPSName, StepDPSTCP, StepDPSTLS, StepClock, StepDPS} {
			d.report(Step{Name: name, Result: Skipped, Cause: leftAlone("dps", until)})
		}
		return
	}
	d.dps.asked = true
	began := time.Now()
	r, transport := d.exchange(ctx)
	took := time.Since(began)
	corrected := d.learnFrom(ctx)
	d.reportWay(ctx, r, transport)
	if corrected { // the clock was at fault, or may have been: once more by the right one
		again := time.Now()
		r, _ = d.exchange(ctx)
		took = time.Since(again)
	}
	d.dps.reached = r.tls != nil
	if first := d.dps; first.refused() && d.second() {
		again := time.Now()
		d.exchange(ctx)
		took = time.Since(again)
		if d.dps.second = !d.dps.refused(); !d.dps.second {
			d.dps = first
			d.first()
		}
	}
	d.report(d.clock.step(0))
	d.report(d.dpsStep(took - r.nameTook - r.tcpTook - r.tlsTook))
}

// exchange makes one request, over the transport that the device's registrations take.
func (d *doctor) exchange(ctx context.Context) (*route, dps.Transport) {
	transport := d.Device.Transport
	if !d.Register || transport == dps.Auto {
		transport = dps.HTTPS // lookups have no other
	}
	r := d.exchangeOver(ctx, transport)
	if d.Register && d.Device.Transport == dps.Auto && r.tcpErr != nil {
		d.dps.closed, _ = r.explainTCP(dpsWay("443"))
		return d.exchangeOver(ctx, dps.MQTT), dps.MQTT
	}
	return r, transport
}

func (d *doctor) exchangeOver(ctx context.Context, transport dps.Transport) *route {
	client, r := d.client(transport)
	if d.Register {
		d.dps.assignment, d.dps.err = client.Register(ctx, dps.Registration{
			Payload: d.Device.Payload,
		})
	} else {
		d.dps.assignment, d.dps.err = client.Lookup(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r
}

func (d *doctor) client(transport dps.Transport) (*dps.Client, *route) {
	r, w := d.watch(d.host())
	return &dps.Client{
		IDScope: d.Device.IDScope, Attestation: d.shown, Endpoint: d.Device.Endpoint,
		Transport: transport, APIVersion: d.Device.APIVersion, UserAgent: d.Device.UserAgent,
		TLSConfig: w.tls, DialContext: w.dial, Proxy: w.proxy,
	}, r
}

// host is that of DPS.
func (d *doctor) host() string {
	endpoint := d.Device.Endpoint
	if endpoint == "" {
		return dps.DefaultEndpoint
	}
	if host, _, err := net.SplitHostPort(endpoint); err == nil {
		return host
	}
	return strings.Trim(endpoint, "[]")
}

// learnFrom takes DPS's time from what it answered. A certificate whose dates are wrong by this
// clock is reason to ask for it. It says whether the clock was wrong, and the answer worth nothing.
func (d *doctor) learnFrom(ctx context.Context) (again bool) {
	if d.dps.err == nil {
		d.clock.learn(d.dps.assignment.Date)
		return false
	}
	failure, _ := errors.AsType[*dps.Error](d.dps.err)
	if failure != nil && !failure.Date.IsZero() {
		return d.clock.learn(failure.Date) && failure.Status == 401
	}
	invalid, dated := errors.AsType[x509.CertificateInvalidError](d.dps.err)
	if !dated || invalid.Reason != x509.Expired {
		return false
	}
	client, _ := d.client(dps.HTTPS)
	date, _ := client.Time(ctx) // zero: nobody has told it
	return !date.IsZero() && d.clock.learn(date)
}

func dpsWay(port string) way {
	return way{
		name: StepDPSName, proxy: StepDPSProxy, tcp: StepDPSTCP, tls: StepDPSTLS, service: "dps",
		port: port,
	}
}

// reportWay reports the way to DPS.
func (d *doctor) reportWay(ctx context.Context, r *route, transport dps.Transport) {
	w := dpsWay("443")
	if transport == dps.MQTT {
		w.port = "8883"
	}
	d.report(r.nameStep(w))
	if s, ok := r.proxyStep(w); ok {
		d.report(s)
	}
	tcp := r.tcpStep(w)
	if tcp.Result == Failed && d.Device.Transport != dps.HTTPS && !d.Register {
		tcp.Cause += "; " + d.otherPort(ctx)
	}
	if d.dps.closed != "" {
		tcp.Saw = append(tcp.Saw, "port 443: "+d.dps.closed)
	}
	d.report(tcp)
	s := r.tlsStep(w, d.clock, d.dps.err)
	if _, unverified := errors.AsType[*tls.CertificateVerificationError](d.dps.err); unverified &&
		d.clock.told && d.clock.offset != 0 {
		s.Fix = "set the device's clock: it was wrong, as below"
	}
	d.report(s)
}

// otherPort tells whether registrations can take the other port, as they do by themselves.
func (d *doctor) otherPort(ctx context.Context) string {
	address := net.JoinHostPort(d.host(), "8883")
	if d.probe(ctx, address) == nil {
		return "port 8883 is open: the device registers there over mqtt"
	}
	return "port 8883 is closed too"
}
