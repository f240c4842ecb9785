// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	rigID   = "sensor-042"
	hubA    = "hub-a.azure-devices.net"
	hubB    = "hub-b.azure-devices.net"
	hubC    = "hub-c.azure-devices.net"
	rigStep = 100 * time.Millisecond // what a device and its hub have time for before a test looks
)

var rigKey = base64.StdEncoding.EncodeToString([]byte("canary-key-0123456789-canary-key"))

// wiring is a choice of transports and credential.
type wiring struct {
	dps  dps.Transport
	ws   bool // to the hub
	x509 bool
	auto bool // to both: the Device chooses
}

func (w wiring) String() string {
	s := "dps=" + w.dps.String() + ",hub=mqtt"
	if w.auto {
		s = "auto"
	} else if w.ws {
		s = "dps=" + w.dps.String() + ",hub=ws"
	}
	if w.x509 {
		s += ",x509"
	}
	return s
}

var (
	hubWirings = []wiring{{}, {ws: true}}
	dpsWirings = []wiring{{}, {dps: dps.MQTT}, {dps: dps.MQTTWebSocket}}
	allWirings = []wiring{
		{}, {dps: dps.MQTT}, {dps: dps.MQTTWebSocket, ws: true}, {ws: true, x509: true},
		{dps: dps.MQTT, x509: true}, {auto: true},
	}
	autoWiring = []wiring{{auto: true}}
)

// rig is a device, DPS and three hubs, in a bubble of virtual time.
type rig struct {
	t       *testing.T
	network *simnet.Network
	dps     *dpstest.Server
	a, b, c *hubtest.Hub
	store   cache.Store
	wiring  wiring
	att     dps.Attestation
	start   time.Time

	mu       sync.Mutex
	sessions []sessionSeen
	changed  chan struct{} // closed and replaced at a new session
	ends     []error       // causes of the sessions' ends
}

type sessionSeen struct {
	hub string
	at  time.Duration // since the rig's start
}

// each runs f in a bubble for every wiring, several at a time: bubbles share nothing, and their
// time does not depend on how busy the machine is. f must not change what it has from outside.
func each(t *testing.T, wirings []wiring, f func(t *testing.T, r *rig)) {
	t.Helper()
	for i, w := range wirings {
		// With -short, every test has one of its wirings: another for the next test.
		if testing.Short() && i != len(t.Name())%len(wirings) {
			continue
		}
		t.Run(w.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, w)
				t.Cleanup(func() { require.NoError(t, r.network.Close()) })
				f(t, r)
			})
		})
	}
}

func newRig(t *testing.T, w wiring) *rig {
	n := simnet.New()
	r := &rig{
		t: t, network: n, wiring: w, store: &cache.Memory{}, start: time.Now(),
		changed: make(chan struct{}), a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
		c: hubtest.NewHub(n, hubC), dps: dpstest.New(n, dpstest.Config{}),
	}
	r.dps.Link(r.a, r.b, r.c)
	r.enroll(hubA)
	return r
}

// enroll makes DPS send the device to a hub.
func (r *rig) enroll(hub string) { r.enrollWith(hub, nil) }

// enrollWith is enroll with a change to the enrollment.
func (r *rig) enrollWith(hub string, change func(*dpstest.IndividualEnrollment)) {
	e := dpstest.IndividualEnrollment{
		RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""), IoTHubs: []string{hub},
		AllocationPolicy: dpstest.PolicyStatic,
	}
	r.att = dps.SymmetricKey{ID: rigID, Key: rigKey}
	if r.wiring.x509 {
		if _, ok := r.att.(dps.X509); !ok {
			cert := r.network.CA().Device(rigID)
			leaf, err := x509.ParseCertificate(cert.Certificate[0])
			require.NoError(r.t, err)
			r.att = dps.X509{KeyPair: cert}
			e.Attestation = dpstest.ClientCertificates(leaf, nil)
		}
	}
	if change != nil {
		change(&e)
	}
	require.NoError(r.t, r.dps.Enroll(e))
}

func (r *rig) device() *provisioning.Device {
	trust := r.network.TLSConfig()
	// the quickest: handshakes take most of the tests' time
	trust.CurvePreferences = []tls.CurveID{tls.CurveP256}
	toHub := hubconn.MQTT
	if r.wiring.ws {
		toHub = hubconn.MQTTWebSocket
	}
	toDPS := cmp.Or(r.wiring.dps, dps.HTTPS)
	if r.wiring.auto {
		toHub, toDPS = hubconn.Auto, dps.Auto
	}
	return &provisioning.Device{
		IDScope: r.dps.IDScope(), Attestation: r.att, Store: r.store,
		Transport: toDPS, Hub: hubconn.Dialer{Transport: toHub},
		DialContext: r.network.DialContext, TLSConfig: trust,
	}
}

// run starts the device with a session that sends one message and stays. The stop function ends it
// and waits.
func (r *rig) run(dev *provisioning.Device) (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	stopped := errors.New("stopped by the test")
	done := make(chan error, 1)
	go func() { done <- dev.Run(ctx, r.session); close(done) }()
	r.t.Cleanup(func() { // after a failed check
		cancel(stopped)
		<-done
	})
	return func() {
		r.t.Helper()
		cancel(stopped)
		require.ErrorIs(r.t, <-done, stopped)
		require.Equal(r.t, provisioning.StateStopped, dev.Status().State)
	}
}

func (r *rig) session(ctx context.Context, hub *hubconn.Conn) error {
	r.mu.Lock()
	r.sessions = append(r.sessions, sessionSeen{hub: hub.Hub().Host, at: time.Since(r.start)})
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()
	_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
	<-ctx.Done()
	r.mu.Lock()
	r.ends = append(r.ends, context.Cause(ctx))
	r.mu.Unlock()
	return nil
}

func (r *rig) seen() []sessionSeen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]sessionSeen(nil), r.sessions...)
}

// session n (from 0), waiting at most limit for it, and a moment longer for what it does first.
func (r *rig) await(n int, limit time.Duration) sessionSeen {
	r.t.Helper()
	end := time.NewTimer(limit)
	defer end.Stop()
	for {
		r.mu.Lock()
		seen, changed := r.sessions, r.changed
		r.mu.Unlock()
		if len(seen) > n {
			return seen[n]
		}
		select {
		case <-changed:
			time.Sleep(rigStep)
		case <-end.C:
			require.FailNow(
				r.t, "no session", "no %d within %v; dps was asked: %v", n, limit, r.dps.Requests(),
			)
		}
	}
}

// elapsed is the virtual time since the rig's start.
func (r *rig) elapsed() time.Duration { return time.Since(r.start) }

// boot runs the device until it is connected to its first hub, and stops it: a device that has been
// assigned.
func (r *rig) boot() {
	r.t.Helper()
	stop := r.run(r.device())
	r.await(0, time.Minute)
	stop()
	r.reset()
}

// reset forgets what was seen, so that a test counts from here.
func (r *rig) reset() {
	r.mu.Lock()
	r.sessions, r.ends, r.start = nil, nil, time.Now()
	r.mu.Unlock()
	r.dps.ResetLog()
	for _, h := range []*hubtest.Hub{r.a, r.b, r.c} {
		h.ResetLog()
	}
}

func (r *rig) asked(ops ...dpstest.Op) int { return r.dps.Count(ops...) }
