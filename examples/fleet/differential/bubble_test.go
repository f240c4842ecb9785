// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var key = base64.StdEncoding.EncodeToString([]byte("canary-key-0123456789-canary-key"))

// bubble is a scenario as real Devices live through it.
type bubble struct {
	t       *testing.T
	s       scenario
	network *simnet.Network
	dps     *dpstest.Server
	hubs    []*hubtest.Hub
	boards  []*board

	began time.Time
	trace trace
	clock trace // questions for the time, as the devices say

	dialled, refused map[string]*atomic.Int64 // by host
}

// board is one device, over all its processes.
type board struct {
	number int
	shown  dps.Attestation
	store  *flash
	asks   atomic.Pointer[string] // DPS for this, as it says
	end    context.CancelFunc
	ended  chan struct{}
}

// play plays a scenario with real Devices, and returns what was asked of the services.
func play(t *testing.T, s scenario) (lines []line) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, s)
		defer b.close()
		if s.warm {
			b.assign()
		}
		if s.online {
			b.connect()
		}
		b.run()
		lines = b.recorded()
	})
	return lines
}

func newBubble(t *testing.T, s scenario) *bubble {
	n := simnet.New()
	config := dpstest.Config{
		RetryAfter: retryAfter, AssignTime: assignTime, RegistrationsPerMinute: s.quota,
	}
	policy := dpstest.PolicyStatic
	if s.hint > 0 {
		policy, config.Allocate = dpstest.PolicyCustom, s.allocate
	}
	b := &bubble{t: t, s: s, network: n, dps: dpstest.New(n, config)}
	for _, host := range hubNames {
		b.hubs = append(b.hubs, hubtest.NewHub(n, host))
	}
	b.dps.Link(b.hubs...)
	for i := range s.devices {
		shown, known := b.credential(i)
		err := b.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: name(i), Attestation: known,
			AllocationPolicy: policy, IoTHubs: hubNames[hubA:hubB],
		})
		if err != nil {
			t.Fatal(err)
		}
		b.boards = append(b.boards, &board{number: i, shown: shown, store: &flash{}})
	}
	b.reset()
	return b
}

// allocate leaves the device where the operator has it, and says what its Stagger is to be.
func (s scenario) allocate(
	_ context.Context, a dpstest.Allocation,
) (dpstest.Allocated, error) {
	said := fmt.Sprintf(`{"rehome": {"staggerSeconds": %d}}`, s.hint/time.Second)
	return dpstest.Allocated{Hub: a.LinkedHubs[0], Payload: json.RawMessage(said)}, nil
}

// credential is what a device shows, and what DPS knows of that.
func (b *bubble) credential(device int) (shown dps.Attestation, known dpstest.Attestation) {
	if !b.s.x509 {
		return dps.SymmetricKey{ID: name(device), Key: key}, dpstest.Keys(key, "")
	}
	pair := b.network.CA().Device(name(device))
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		b.t.Fatal(err)
	}
	return dps.X509{KeyPair: pair}, dpstest.ClientCertificates(leaf, nil)
}

// reset begins the traces anew, now.
func (b *bubble) reset() {
	b.began = time.Now()
	b.trace, b.clock = trace{}, trace{}
	b.dps.ResetLog()
	b.dialled, b.refused = map[string]*atomic.Int64{}, map[string]*atomic.Int64{}
	for _, hub := range b.hubs {
		hub.ResetLog()
		b.dialled[hub.Host()], b.refused[hub.Host()] = new(atomic.Int64), new(atomic.Int64)
	}
}

func (b *bubble) now() time.Duration { return time.Since(b.began) }

// assign has each device register and connect once, with a clock that is right, a while before the
// scenario.
func (b *bubble) assign() {
	of := b.s
	b.s.slow, b.s.stagger = false, 0
	for some := range slices.Chunk(b.boards, b.s.quota) {
		for _, d := range some {
			b.start(d.number, 0)
		}
		time.Sleep(2 * time.Minute)
		for _, d := range some {
			b.stop(d)
		}
	}
	b.s = of
	time.Sleep(off)
	if n := len(b.hubs[hubA].Messages()); n != len(b.boards) {
		b.t.Fatalf("%d devices have been at their hub, of %d", n, len(b.boards))
	}
	b.reset()
}

// connect has each device connect to its hub and stay there, since a while before the scenario.
func (b *bubble) connect() {
	for _, d := range b.boards {
		b.start(d.number, 0)
	}
	time.Sleep(time.Hour)
	synctest.Wait()
	if n := len(b.hubs[hubA].Attempts()); n != len(b.boards) || b.dps.Count() > 0 {
		b.t.Fatalf("%d attempts at the hub of %d devices, %d requests to DPS", n, len(b.boards),
			b.dps.Count())
	}
	b.reset()
}

// run carries out the steps.
func (b *bubble) run() {
	for _, s := range b.s.steps() {
		time.Sleep(s.at - b.now())
		synctest.Wait() // what happens at this moment, happens before
		s.do(b)
	}
	time.Sleep(b.s.end - b.now())
	synctest.Wait()
}

// close ends all devices, and then the services.
func (b *bubble) close() {
	for _, d := range b.boards {
		b.kill(d)
	}
	_ = b.network.Close()
}

func (b *bubble) failHub(hub *hubtest.Hub, how failure) {
	if how == refuses || how == gone {
		fault := map[failure]simnet.Fault{refuses: simnet.Refused, gone: simnet.NameNotFound}
		b.network.SetFault(hub.Host(), fault[how])
	} else {
		code := map[failure]byte{answers3: 3, rejects: 5}
		hub.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: code[how], Times: -1})
	}
	b.network.Cut(hub.Host())
}

func (b *bubble) mendHub(hub *hubtest.Hub) {
	b.network.SetFault(hub.Host(), simnet.None)
	hub.ClearFaults()
}

func (b *bubble) failDPS() { b.dps.Inject(dpstest.Fault{Status: 503, Times: -1}) }

func (b *bubble) mendDPS() { b.dps.ClearFaults() }

func (b *bubble) move(boards ...*board) {
	for _, d := range boards {
		if err := b.dps.MoveNow(name(d.number), hubNames[hubB]); err != nil {
			b.t.Fatal(err)
		}
	}
}

// start begins the n-th process of a device. It draws the system's entropy while nothing else runs.
func (b *bubble) start(device, n int) {
	d := b.boards[device]
	d.store = d.store.reopened()
	dev := b.device(d)
	synctest.Wait()
	system.give(entropyOf(device, n))
	_, err := dev.Remembered(b.t.Context()) // its first use
	if err != nil || !system.taken() {
		b.t.Fatalf("device %d takes no entropy: %v", device, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	d.end, d.ended = cancel, ended
	go func() {
		defer close(ended)
		if err := dev.Run(ctx, stay); !errors.Is(err, context.Canceled) {
			b.t.Errorf("device %d: %v", d.number, err)
		}
	}()
}

// stay is a session that has the hub acknowledge one message, and stays.
func stay(ctx context.Context, hub *hubconn.Conn) error {
	_ = hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
	<-ctx.Done()
	return nil
}

func (b *bubble) device(d *board) *provisioning.Device {
	trust := b.network.TLSConfig()
	// the quickest: handshakes take most of the time
	trust.CurvePreferences = []tls.CurveID{tls.CurveP256}
	if b.s.slow {
		began := time.Now()
		trust.Time = func() time.Time { return time.Unix(0, 0).Add(time.Since(began)) }
	}
	after := provisioning.Reregister
	if b.s.probes {
		after = provisioning.KeepProbing
	}
	return &provisioning.Device{
		IDScope: b.dps.IDScope(), Attestation: d.shown,
		Store: d.store, Stagger: b.s.stagger, AfterRejection: after, Transport: dps.HTTPS,
		// A token outlives the scenario: its renewal is another connection, and no decision.
		Hub: hubconn.Dialer{Transport: hubconn.MQTT, TokenTTL: tokenTTL},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return b.dial(ctx, d, network, address)
		},
		TLSConfig: trust, Logger: slog.New(slog.DiscardHandler), Trace: &provisioning.Trace{
			Request: func(r provisioning.DPSRequest) {
				d.asks.Store(&r.Kind)
			},
		},
	}
}

// dial records a connection to a hub: with one transport alone, each attempt makes one. Of those to
// DPS it records what is in none of its logs.
func (b *bubble) dial(
	ctx context.Context, d *board, network, address string,
) (net.Conn, error) {
	conn, err := b.network.DialContext(ctx, network, address)
	host, _, _ := strings.Cut(address, ":")
	if n := b.dialled[host]; n != nil {
		b.trace.add(line{b.now(), d.number, kindConnect(host)})
		n.Add(1)
		if err != nil {
			b.refused[host].Add(1)
		}
		return conn, err
	}
	kind := *d.asks.Load()
	switch {
	case err != nil:
		b.trace.add(line{b.now(), d.number, kind})
	case kind == kindTime: // its request does not say whose it is
		b.clock.add(line{b.now(), d.number, kind})
	}
	return conn, err
}

// stop ends a process in good order.
func (b *bubble) stop(d *board) {
	d.end()
	<-d.ended
	d.end = nil
}

// kill ends a process: whatever it does from now on, nothing of it is stored.
func (b *bubble) kill(d *board) {
	if d.end == nil {
		return
	}
	d.store.freeze()
	b.stop(d)
}
