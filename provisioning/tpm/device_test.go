// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/swtpm"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/provisioning/tpm"
)

// world is the service, and a device with a TPM.
type world struct {
	t       *testing.T
	network *simnet.Network
	dps     *dpstest.Server
	a, b    *hubtest.Hub
}

const (
	hubA = "hub-a.azure-devices.net"
	hubB = "hub-b.azure-devices.net"
)

func newWorld(t *testing.T) *world {
	t.Helper()
	n := simnet.New()
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	w := &world{
		t: t, network: n, dps: dpstest.New(n, dpstest.Config{RetryAfter: time.Second}),
		a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
	}
	w.dps.Link(w.a, w.b)
	return w
}

// enroll enrolls the TPM at a hub.
func (w *world) enroll(a *tpm.Attestation, hub string) {
	w.t.Helper()
	endorsement, _, err := a.PublicKeys(w.t.Context())
	require.NoError(w.t, err)
	require.NoError(w.t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: a.RegistrationID(), IoTHubs: []string{hub},
		AllocationPolicy: dpstest.PolicyStatic,
		Attestation: dpstest.Attestation{TPM: &dpstest.TPM{
			EndorsementKey: base64.StdEncoding.EncodeToString(endorsement),
		}},
	}))
}

// asked is how often a device asked DPS for anything but how its registration goes.
func (w *world) asked() int { return w.dps.Count(dpstest.Register, dpstest.Lookup) }

var errDone = errors.New("done")

// boot is the life of a process: it connects, sends a message, and ends.
func (w *world) boot(a dps.Attestation, store cache.Store, body string) {
	w.t.Helper()
	var log bytes.Buffer
	defer func() {
		for _, key := range [][]byte{key1, key2} {
			assert.NotContains(w.t, log.String(), string(key))
		}
	}()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	defer time.AfterFunc(30*time.Second, func() { cancel(context.DeadlineExceeded) }).Stop()
	dev := &provisioning.Device{
		IDScope: w.dps.IDScope(), Attestation: a, Store: store,
		DialContext: w.network.DialContext, TLSConfig: w.network.TLSConfig(),
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	}
	sent := false
	err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte(body)}); err != nil {
			return err
		}
		sent = true
		cancel(errDone)
		return nil
	})
	if !sent {
		w.t.Fatalf("%s: %v\n%s", body, err, &log)
	}
}

func bodies(hub *hubtest.Hub) (all []string) {
	for _, m := range hub.Messages() {
		all = append(all, string(m.Body))
	}
	return all
}

func TestADeviceRegistersByChallengeAndConnectsWithItsTPM(t *testing.T) {
	w := newWorld(t)
	m, way := newTPM(t)
	dir := cache.Dir(t.TempDir())
	fresh := func() (*tpm.Attestation, cache.Store) {
		return &tpm.Attestation{TPM: way, Store: dir},
			&tpm.CountedStore{Store: dir, TPM: way, Index: index}
	}
	a, store := fresh()
	w.enroll(a, hubA)
	w.boot(a, store, "first")
	assert.Equal(t, []string{"first"}, bodies(w.a))
	asked := w.asked()
	assert.Positive(t, asked)

	// The next process has the store, and does not ask DPS.
	a, store = fresh()
	require.NoError(t, way.Close())
	m.Stop()
	m.Resume()
	w.boot(a, store, "second")
	assert.Equal(t, []string{"first", "second"}, bodies(w.a))
	assert.Equal(t, asked, w.asked(), "DPS was not asked")

	// Without the hub's key it is asked at once.
	require.NoError(t, dir.Delete(t.Context(), a.RegistrationID()+"~tpm-hub"))
	a, store = fresh()
	w.boot(a, store, "third")
	assert.Equal(t, []string{"first", "second", "third"}, bodies(w.a))
	assert.Greater(t, w.asked(), asked)

	// The device moves; whoever puts the entry from before back does not send it to the old hub.
	old, err := dir.Get(t.Context(), "~counted")
	require.NoError(t, err)
	require.NoError(t, w.dps.MoveNow(a.RegistrationID(), hubB))
	w.boot(a, store, "moved")
	assert.Equal(t, []string{"moved"}, bodies(w.b))
	require.NoError(t, dir.Put(t.Context(), "~counted", old))
	connects := len(w.a.Messages())
	a, store = fresh()
	w.boot(a, store, "not fooled")
	assert.Equal(t, []string{"moved", "not fooled"}, bodies(w.b))
	assert.Len(t, w.a.Messages(), connects)

	require.NoError(t, way.Close())
	transient, persistent := handles(t, m)
	assert.Empty(t, transient)
	assert.Empty(t, persistent)

	// All of it on another TPM: it is not the enrolled device, and has nothing to show.
	other := swtpm.Start(t)
	elsewhere := &tpm.TPM{Address: "unix:" + other.Socket}
	thief := &tpm.Attestation{TPM: elsewhere, ID: a.RegistrationID(), Store: dir}
	client := &dps.Client{
		IDScope: w.dps.IDScope(), Attestation: thief,
		DialContext: w.network.DialContext, TLSConfig: w.network.TLSConfig(),
	}
	_, err = client.Register(t.Context(), dps.Registration{})
	failure, ok := errors.AsType[*dps.Error](err)
	require.True(t, ok)
	assert.Equal(t, 404201, failure.Code)
	requireNoKey(t, thief, "another TPM")
	_, err = (&tpm.CountedStore{Store: dir, TPM: elsewhere, Index: index}).Get(
		t.Context(), a.RegistrationID(),
	)
	oneLine(t, err, "another device")
	require.NoError(t, elsewhere.Close())
}

func TestADeviceConnectsWithACertificateWhoseKeyIsInTheTPM(t *testing.T) {
	w := newWorld(t)
	_, way := newTPM(t)
	key, _, err := tpm.Keys{TPM: way}.Generate(t.Context())
	require.NoError(t, err)
	csr, err := dps.NewCSR(key, "dev")
	require.NoError(t, err)
	assert.NotEmpty(t, csr)
	pair := w.network.CA().DeviceFor("dev", key)
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	require.NoError(t, err)
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "dev", IoTHubs: []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
		Attestation: dpstest.ClientCertificates(leaf, nil),
	}))
	store := new(cache.Memory)
	identity := dps.X509{KeyPair: tls.Certificate{
		Certificate: pair.Certificate, PrivateKey: key,
	}}
	w.boot(identity, store, "first")
	asked := w.asked()
	w.boot(identity, store, "second")
	assert.Equal(t, []string{"first", "second"}, bodies(w.a))
	assert.Equal(t, asked, w.asked(), "its seal is the TPM's, too")
}
