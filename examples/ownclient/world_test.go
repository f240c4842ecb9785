// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
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
	sensor = "sensor-042"
	hubA   = "hub-a.azure-devices.net"
	hubB   = "hub-b.azure-devices.net"
)

var key = base64.StdEncoding.EncodeToString([]byte("canary-key-0123456789-canary-key"))

var errStopped = errors.New("stopped by the test")

// world is the service, and a device that lives through several processes.
type world struct {
	*testing.T
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
	store   cache.Memory
	connect connector

	mu    sync.Mutex
	lines []string
}

// each plays a scene with every library that works, in virtual time.
func each(t *testing.T, scene func(w *world)) {
	for _, name := range []string{"paho", "paho5"} {
		t.Run(name, func(t *testing.T) { play(t, clients[name], scene) })
	}
}

func play(t *testing.T, connect connector, scene func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		t.Cleanup(func() { assert.NoError(t, n.Close()) })
		w := &world{
			T: t, network: n, connect: connect, dps: dpstest.New(n, dpstest.Config{}),
			a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
		}
		w.dps.Link(w.a, w.b)
		require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: sensor, Attestation: dpstest.Keys(key, ""), IoTHubs: []string{hubA},
			AllocationPolicy: dpstest.PolicyStatic,
		}))
		scene(w)
	})
}

// process is the device in a new process.
func (w *world) process() *program {
	return &program{
		Device: &provisioning.Device{
			IDScope: w.dps.IDScope(), Attestation: dps.SymmetricKey{ID: sensor, Key: key},
			Store: &w.store, DialContext: w.network.DialContext, TLSConfig: w.network.TLSConfig(),
		},
		connect: w.connect,
		log: func(line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line)
		},
	}
}

// start runs a process, and returns what ends it.
func (w *world) start(p *program) (stop func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.keepConnected(ctx, p.measure(time.Minute)) }()
	stop = sync.OnceFunc(func() {
		cancel(errStopped)
		assert.ErrorIs(w, <-done, errStopped)
	})
	w.Cleanup(stop)
	return stop
}

// arrives waits for a message more at a hub.
func (w *world) arrives(h *hubtest.Hub, limit time.Duration) {
	w.Helper()
	before := len(h.Messages())
	for end := time.Now().Add(limit); len(h.Messages()) == before; time.Sleep(time.Second) {
		w.mu.Lock()
		lines := append([]string(nil), w.lines...)
		w.mu.Unlock()
		require.True(w, time.Now().Before(end), "nothing at %s within %v: %q; dps was asked: %v",
			h.Host(), limit, lines, w.dps.Requests())
	}
}

func TestAWarmStartAsksDPSNothing(t *testing.T) {
	each(t, func(w *world) {
		for range 3 {
			stop := w.start(w.process())
			w.arrives(w.a, time.Minute)
			stop()
		}
		require.Equal(w, 1, w.dps.Count(dpstest.Register))
		require.Zero(w, w.dps.Count(dpstest.Lookup, dpstest.Clock))
		for _, seen := range w.a.Attempts() {
			require.True(w, seen.Accepted(), "%v", seen)
		}
	})
}

func TestAForcedMoveIsFollowed(t *testing.T) {
	each(t, func(w *world) {
		stop := w.start(w.process())
		w.arrives(w.a, time.Minute)
		require.NoError(w, w.dps.MoveNow(sensor, hubB))
		w.arrives(w.b, 3*time.Minute)
		require.Equal(w, 2, w.dps.Count(dpstest.Register))
		stop()
		w.start(w.process())
		w.arrives(w.b, time.Minute)
		require.Equal(w, 2, w.dps.Count(dpstest.Register), "it is remembered")
	})
}

func TestAMoveWhileItIsOffIsFollowed(t *testing.T) {
	each(t, func(w *world) {
		stop := w.start(w.process())
		w.arrives(w.a, time.Minute)
		stop()
		require.NoError(w, w.dps.MoveNow(sensor, hubB))
		w.start(w.process())
		w.arrives(w.b, time.Minute)
	})
}

func TestAReprovisioningMovesItToo(t *testing.T) {
	each(t, func(w *world) {
		p := w.process()
		w.start(p)
		w.arrives(w.a, time.Minute)
		require.NoError(w, w.dps.Move(sensor, hubB))
		_, err := p.Reprovision(w.Context(), "test")
		require.NoError(w, err)
		w.arrives(w.b, 10*time.Minute)
		require.Equal(w, 2, w.dps.Count(dpstest.Register))
	})
}

func TestARejectionIsSurvivedOverRestarts(t *testing.T) {
	each(t, func(w *world) {
		stop := w.start(w.process())
		w.arrives(w.a, time.Minute)
		require.True(w, w.a.Disable(sensor))
		w.dps.ResetLog()
		w.a.ResetLog()
		for range 12 {
			time.Sleep(time.Hour)
			stop()
			stop = w.start(w.process())
		}
		require.LessOrEqual(w, w.dps.Count(dpstest.Register), 20)
		require.GreaterOrEqual(w, w.dps.Count(dpstest.Register), 8)
		require.LessOrEqual(w, len(w.a.Attempts()), 60)
		w.a.Enable(sensor)
		w.arrives(w.a, 90*time.Minute)
	})
}

func TestAWrongClockCausesNoRegistration(t *testing.T) {
	each(t, func(w *world) {
		stop := w.start(w.process())
		w.arrives(w.a, time.Minute)
		stop()
		time.Sleep(3 * time.Hour)
		p := w.process()
		boot, wrong := time.Now(), time.Now().Add(-365*24*time.Hour)
		p.TLSConfig.Time = func() time.Time { return wrong.Add(time.Since(boot)) }
		w.start(p)
		w.arrives(w.a, 2*time.Minute)
		require.WithinDuration(w, time.Now(), p.Now(), 2*time.Second)
		require.Equal(w, 1, w.dps.Count(dpstest.Register))
		require.Equal(w, 1, w.dps.Count(dpstest.Clock))
	})
}

func TestAConnectionIsRenewedBeforeItsTokenEnds(t *testing.T) {
	each(t, func(w *world) {
		w.start(w.process())
		time.Sleep(24*time.Hour + time.Minute)
		require.InDelta(w, 24*60, len(w.a.Messages()), 60, "a message a minute")
		require.InDelta(w, 30, len(w.a.Attempts()), 5)
		require.Equal(w, 1, w.dps.Count(dpstest.Register))
	})
}

func TestAHubThatIsDownIsTriedAtGrowingDistances(t *testing.T) {
	each(t, func(w *world) {
		w.start(w.process())
		w.arrives(w.a, time.Minute)
		w.network.SetFault(hubA, simnet.Refused)
		w.network.Cut(hubA)
		dialled := w.network.Dials(hubA)
		time.Sleep(10 * time.Minute)
		require.Less(w, w.network.Dials(hubA)-dialled, 16)
		w.network.SetFault(hubA, simnet.None)
		w.arrives(w.a, 6*time.Minute)
		require.Equal(w, 1, w.dps.Count(dpstest.Register))
	})
}

func TestAMessageFromTheCloudArrives(t *testing.T) {
	each(t, func(w *world) {
		w.start(w.process())
		w.arrives(w.a, time.Minute)
		require.NoError(w, w.a.SendC2D(sensor, hubtest.C2D{Body: []byte("open")}))
		time.Sleep(time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		require.Contains(w, w.lines, `received: "open"`)
	})
}

// A client of MQTT 5 that is not translated is refused by a hub of MQTT 3.1.1: neither of the two
// is going to change its mind soon, so that it is tried once an hour.
func TestAClientOfMQTT5IsIncompatible(t *testing.T) {
	play(t, connectPaho5Untranslated, func(w *world) {
		p := w.process()
		stop := w.start(p)
		time.Sleep(30 * time.Second)
		require.Equal(w, hubconn.Incompatible, p.Status().Class, "%v", p.Status().Err)
		require.ErrorContains(w, p.Status().Err, "return code 1")
		time.Sleep(5 * time.Hour)
		require.LessOrEqual(w, len(w.a.Attempts()), 6)
		require.LessOrEqual(w, w.dps.Count(dpstest.Register), 6)
		stop()
		w.connect = connectPaho5
		w.start(w.process())
		w.arrives(w.a, 90*time.Minute)
	})
}

func TestWrongFlagsAreOneLine(t *testing.T) {
	keyFile := filepath.Join(t.TempDir(), "key")
	require.NoError(t, os.WriteFile(keyFile, []byte(key+"\n"), 0o600))
	for want, args := range map[string][]string{
		`-client "amqp" is unknown`: {"-client", "amqp", "-key-file", keyFile},
		"-key-file: open":           {},
		"id scope":                  {"-key-file", keyFile, "-id", sensor, "-store", t.TempDir()},
		"store directory is empty":  {"-key-file", keyFile, "-id", sensor, "-id-scope", "0ne0"},
	} {
		var out, stderr bytes.Buffer
		require.NotZero(t, run(t.Context(), args, &out, &stderr))
		require.Contains(t, stderr.String(), want)
		require.NotContains(t, stderr.String(), "canary")
		require.Equal(t, 1, bytes.Count(stderr.Bytes(), []byte("\n")), stderr.String())
	}
}
