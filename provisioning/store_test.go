// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

func testStore(store cache.Store, a dps.Attestation) *entryStore {
	return &entryStore{owner: &entryOwner{
		store: store, attestation: a, scope: "0ne00ABCDEF",
		endpoint: "global.azure-devices-provisioning.net", now: time.Now,
	}}
}

func testCertificate(t testing.TB, name string) dps.X509 {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	return dps.X509{KeyPair: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

func testKey(id string) dps.SymmetricKey {
	return dps.SymmetricKey{
		ID: id, Key: base64.StdEncoding.EncodeToString(bytes.Repeat([]byte("canary-key"), 4)),
	}
}

func TestAnEntryComesBackAsItWasStored(t *testing.T) {
	ctx := context.Background()
	for _, attestation := range []dps.Attestation{
		testKey("sensor-042"), testCertificate(t, "sensor-042"),
	} {
		store := &cache.Memory{}
		confirmed := &known{Assignment: dps.Assignment{
			Hub: "hub-a.azure-devices.net", DeviceID: "device-7", RegistrationID: "sensor-042",
			Status: dps.StatusAssigned, Substatus: "deviceDataMigrated",
			Payload: []byte(`{"room":4}`), Created: time.Unix(1_700_000_000, 123456700).UTC(),
			Updated: time.Unix(1_800_000_000, 0).UTC(),
		}}
		candidate := &known{Assignment: dps.Assignment{
			Hub: "hub-b.azure-devices.net", DeviceID: "device-7", RegistrationID: "sensor-042",
			Status: dps.StatusAssigned,
		}}
		require.NoError(t, testStore(store, attestation).write(ctx, confirmed, candidate))
		n := testStore(store, attestation)
		m, err := n.read(ctx)
		require.NoError(t, err)
		require.Equal(t, retry.Wait, m.Next)
		require.Equal(t, confirmed.Assignment, knownFrom(m.Confirmed).Assignment)
		require.Equal(t, candidate.Assignment, knownFrom(m.Candidate).Assignment)
		require.Equal(t, SourceStore, knownFrom(m.Confirmed).source)
		require.EqualValues(t, 1, n.last.Sequence)
		require.NoError(t, n.write(ctx, confirmed, nil))
		require.EqualValues(t, 2, n.last.Sequence)
	}
}

func TestAnEntryStaysWithin512BytesBesideThePayload(t *testing.T) {
	ctx := context.Background()
	id := "factory-7.line-3:sensor-0123456789"
	a := dps.Assignment{
		Hub: strings.Repeat("h", 50) + ".azure-devices.net", DeviceID: id, RegistrationID: id,
		Substatus: "reprovisionedToInitialAssignment", Created: time.Now(), Updated: time.Now(),
	}
	for _, attestation := range []dps.Attestation{testKey(id), testCertificate(t, id)} {
		store := &cache.Memory{}
		require.NoError(t, testStore(store, attestation).write(ctx, &known{Assignment: a}, nil))
		data, err := store.Get(ctx, id)
		require.NoError(t, err)
		require.LessOrEqual(t, len(data), 512)
		key, _ := base64.StdEncoding.DecodeString(testKey(id).Key)
		require.False(t, bytes.Contains(data, key), "no key is stored")
	}
}

func TestAnEntryOfAnotherDeviceIsNotOurs(t *testing.T) {
	ctx := context.Background()
	store := &cache.Memory{}
	k := &known{Assignment: dps.Assignment{Hub: "h.azure-devices.net", DeviceID: "d"}}
	require.NoError(t, testStore(store, testKey("sensor-042")).write(ctx, k, nil))
	data, err := store.Get(ctx, "sensor-042")
	require.NoError(t, err)

	n := testStore(store, testKey("sensor-042"))
	n.owner.scope = "0ne00OTHER"
	_, err = n.read(ctx)
	require.ErrorIs(t, err, errEntryForeign)
	n = testStore(store, testKey("sensor-042"))
	n.owner.endpoint = "private.example.net"
	_, err = n.read(ctx)
	require.ErrorIs(t, err, errEntryForeign)
	require.NoError(t, store.Put(ctx, "sensor-043", data))
	m, err := testStore(store, testKey("sensor-043")).read(ctx)
	require.ErrorIs(t, err, errEntryForeign)
	require.Equal(t, retry.Register, m.Next)
	m, err = testStore(store, testCertificate(t, "sensor-042")).read(ctx)
	require.ErrorIs(t, err, errEntryRotated)
	require.Equal(t, retry.Register, m.Next)
}

// failingOnce fails at the next Put, after it may have written.
type failingOnce struct {
	cache.Memory
	fail bool
}

func (s *failingOnce) Put(ctx context.Context, key string, data []byte) error {
	if s.fail {
		s.fail = false
		_ = s.Memory.Put(ctx, key, []byte("half of it"))
		return context.DeadlineExceeded
	}
	return s.Memory.Put(ctx, key, data)
}

func TestAfterAFailedWriteTheSameIsWrittenAgain(t *testing.T) {
	ctx := context.Background()
	store := &failingOnce{}
	a := &known{Assignment: dps.Assignment{Hub: "hub-a.azure-devices.net", DeviceID: "d"}}
	b := &known{Assignment: dps.Assignment{Hub: "hub-b.azure-devices.net", DeviceID: "d"}}
	n := testStore(store, testKey("sensor-042"))
	require.NoError(t, n.write(ctx, a, nil))
	store.fail = true
	require.Error(t, n.write(ctx, a, b))
	require.NoError(t, n.write(ctx, a, nil), "as before, but who knows what is stored now")
	m, err := testStore(store, testKey("sensor-042")).read(ctx)
	require.NoError(t, err)
	require.Equal(t, a.Hub, m.Confirmed.Hub)
}

func TestTheErrorOfAStoreThatHangsTellsItsLimit(t *testing.T) {
	require.ErrorContains(t, errStoreSilent, "within "+spoken(storeTimeout))
}
