// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// clientCanary is a key that must never be printed.
var clientCanary = base64.StdEncoding.EncodeToString([]byte("canary-canary-canary-canary-1234"))

func TestDeriveDeviceKeyGivesThePublishedVector(t *testing.T) {
	// Azure docs: "Symmetric key attestation", group enrollments.
	const group = "8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/" +
		"lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw=="
	key, err := dps.DeriveDeviceKey(group, "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6")
	require.NoError(t, err)
	assert.Equal(t, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=", key)
}

func TestDeriveDeviceKeyRefusesBadInput(t *testing.T) {
	for _, in := range []struct{ group, id, want string }{
		{"not base64!", "sensor", "group key is not base64"},
		{clientCanary, "", "registration id is empty"},
		{clientCanary, "a b", "illegal character"},
	} {
		_, err := dps.DeriveDeviceKey(in.group, in.id)
		require.ErrorContains(t, err, in.want)
		assert.NotContains(t, err.Error(), in.group)
	}
}

// A key that has run together with an ID, as in a list cut at the wrong places, is not shown.
func TestNoKeyWithinARegistrationIDIsShown(t *testing.T) {
	for _, id := range []string{
		clientCanary, "sensor-1;" + clientCanary, clientCanary + " sensor-1", "k:" + clientCanary,
		"sensor-1\x00\u00e4" + clientCanary + "\x80",
	} {
		err := dps.SymmetricKey{ID: id, Key: clientCanary}.Validate()
		require.ErrorContains(t, err, "looks like a key", "%q", id)
		assert.NotContains(t, err.Error(), clientCanary)
	}
}

func TestRegistrationIDIsCheckedBeforeUse(t *testing.T) {
	good := []string{"a", "sensor-042", "A.b_c:d-", strings.Repeat("x", 128), "9", "-"}
	for _, id := range good {
		assert.NoError(t, dps.SymmetricKey{ID: id, Key: clientCanary}.Validate(), id)
	}
	bad := map[string]string{
		"":                       "is empty",
		"a/b":                    "position 2",
		"sensor 1":               "position 7",
		"sensor\n":               "position 7",
		"sensör":                 "position 5",
		"sensor.":                "ends in",
		"sensor_":                "ends in",
		"sensor:":                "ends in",
		"a#":                     "position 2",
		strings.Repeat("x", 129): "129 characters",
	}
	for id, want := range bad {
		err := dps.SymmetricKey{ID: id, Key: clientCanary}.Validate()
		require.ErrorContains(t, err, want, id)
		assert.NotContains(t, err.Error(), "\n")
		assert.Equal(t, retry.Stop, retry.Classify(err), "no retry mends what the program set")
	}
}

func TestKeyIsCheckedAndNeverQuoted(t *testing.T) {
	size := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, n := range []int{16, 32, 64} {
		assert.NoError(t, dps.SymmetricKey{ID: "d", Key: size(n)}.Validate())
	}
	assert.NoError(
		t, dps.SymmetricKey{ID: "d", Key: size(32) + "\n"}.Validate(),
		"a key read from a file ends in a newline",
	)
	for key, want := range map[string]string{
		"":                               "key is empty",
		"hunter2hunter2hunter2!":         "key is not base64",
		clientCanary[:20] + "*":          "key is not base64",
		strings.TrimRight(size(32), "="): "key is not base64",
		size(15):                         "15 bytes",
		size(65):                         "65 bytes",
	} {
		attestation := dps.SymmetricKey{ID: "d", Key: key}
		err := attestation.Validate()
		require.ErrorContains(t, err, want)
		if key != "" {
			assert.NotContains(t, err.Error(), key)
		}
		_, err = attestation.Token(t.Context(), "r", time.Unix(1, 0))
		require.ErrorContains(t, err, want)
		_, err = attestation.Seal(t.Context(), nil)
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, attestation.Verify(t.Context(), nil, nil), want)
		_, err = attestation.Fingerprint(t.Context())
		require.ErrorContains(t, err, want)
	}
}

func TestSymmetricKeyTokenIsTheOneForTheResource(t *testing.T) {
	key := dps.SymmetricKey{ID: "sensor", Key: clientCanary}
	token, err := key.Token(
		t.Context(), "hub.example.net/devices/sensor", time.Unix(1_700_000_000, 0),
	)
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(token, "SharedAccessSignature sr="), token)
	assert.Contains(t, token, "se=1700000000")
	certificate, err := key.Certificate(t.Context())
	require.NoError(t, err)
	assert.Nil(t, certificate)
}

func TestSymmetricKeySealHoldsForItsDataAndKeyOnly(t *testing.T) {
	key := dps.SymmetricKey{ID: "sensor", Key: clientCanary}
	other := dps.SymmetricKey{
		ID: "sensor", Key: base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}
	seal, err := key.Seal(t.Context(), []byte("entry"))
	require.NoError(t, err)
	require.NoError(t, key.Verify(t.Context(), []byte("entry"), seal))
	require.Error(t, key.Verify(t.Context(), []byte("entrx"), seal))
	require.Error(t, other.Verify(t.Context(), []byte("entry"), seal))
	require.Error(t, key.Verify(t.Context(), []byte("entry"), nil))
	for i := range seal {
		flipped := append([]byte(nil), seal...)
		flipped[i] ^= 1
		require.Error(t, key.Verify(t.Context(), []byte("entry"), flipped))
	}
}

func TestSymmetricKeyFingerprintFollowsTheKey(t *testing.T) {
	print := func(id, key string) string {
		fingerprint, err := dps.SymmetricKey{ID: id, Key: key}.Fingerprint(t.Context())
		require.NoError(t, err)
		return fingerprint
	}
	first := print("a", clientCanary)
	assert.Equal(t, first, print("a", clientCanary))
	assert.NotEqual(t, first, print("a", base64.StdEncoding.EncodeToString(make([]byte, 32))))
	assert.Len(t, first, 32)
}

func TestSymmetricKeyIsNeverPrinted(t *testing.T) {
	key := dps.SymmetricKey{ID: "sensor", Key: clientCanary}
	type firmware struct {
		Name string
		Key  dps.SymmetricKey
		Any  any
		Map  map[string]dps.SymmetricKey
	}
	client := dps.Client{IDScope: "0ne00000001", Attestation: key}
	values := []any{key, &key, client, &client, []any{key}, dps.Attestation(key), firmware{
		"x", key, key, map[string]dps.SymmetricKey{"a": key},
	}}
	raw := string(func() []byte {
		b, _ := base64.StdEncoding.DecodeString(clientCanary)
		return b
	}())
	hidden := []string{
		clientCanary, raw, fmt.Sprintf("%x", clientCanary), fmt.Sprintf("%q", clientCanary),
		fmt.Sprintf("%d", []byte(clientCanary)),
	}
	// A %p of a value that is no pointer is not tested: fmt then prints raw fields past every
	// method (go vet finds it).
	var log strings.Builder
	loggers := []*slog.Logger{
		slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil)),
	}
	for _, value := range values {
		for _, verb := range []string{
			"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%T", "%08v", "no verb at all",
		} {
			out := fmt.Sprintf(verb, value)
			for _, secret := range hidden {
				require.NotContains(t, out, secret, verb)
			}
		}
		encoded, _ := json.Marshal(value)
		require.NotContains(t, string(encoded), clientCanary)
		for _, logger := range loggers {
			logger.Info("device", "value", value)
		}
	}
	assert.NotContains(t, log.String(), clientCanary)
	assert.Contains(t, fmt.Sprint(key), "sensor", "the device can still be told")
	assert.Contains(t, fmt.Sprintf("%+v", client), "sensor")
}

func TestSavedSymmetricKeyFailsClearlyWhenReadBack(t *testing.T) {
	encoded, err := json.Marshal(dps.SymmetricKey{ID: "sensor", Key: clientCanary})
	require.NoError(t, err)
	var back dps.SymmetricKey
	require.NoError(t, json.Unmarshal(encoded, &back))
	assert.Equal(t, "sensor", back.ID)
	require.ErrorContains(t, back.Validate(), "not base64")
}
