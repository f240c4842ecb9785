// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/csr"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/internal/tpmkey"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// tpmDevice is a device with a TPM.
type tpmDevice struct {
	*httpsDevice
	tpm  *tpmkey.Soft
	body document
}

func (w *world) tpmDevice(id, version string) *tpmDevice {
	w.t.Helper()
	tpm, err := tpmkey.NewSoft()
	require.NoError(w.t, err)
	return &tpmDevice{
		httpsDevice: w.https(id, version, credential{}), tpm: tpm,
		body: document{"registrationId": id, "tpm": document{
			"endorsementKey": base64.StdEncoding.EncodeToString(tpm.EndorsementKey()),
			"storageRootKey": base64.StdEncoding.EncodeToString(tpm.StorageRootKey()),
		}},
	}
}

func (d *tpmDevice) enroll(set ...func(*dpstest.IndividualEnrollment)) {
	d.w.t.Helper()
	set = append(set, func(e *dpstest.IndividualEnrollment) {
		e.Attestation = dpstest.Attestation{TPM: &dpstest.TPM{
			EndorsementKey: base64.StdEncoding.EncodeToString(d.tpm.EndorsementKey()),
		}}
	})
	d.w.enroll(d.id, set...)
}

func (d *tpmDevice) text() string {
	raw, err := json.Marshal(d.body)
	require.NoError(d.w.t, err)
	return string(raw)
}

// unwrap unwraps an authenticationKey.
func (d *tpmDevice) unwrap(key string) []byte {
	d.w.t.Helper()
	blob, err := base64.StdEncoding.DecodeString(key)
	require.NoError(d.w.t, err)
	raw, err := d.tpm.Unwrap(blob)
	require.NoError(d.w.t, err)
	return raw
}

// challenged sends a request without a token and takes the key of the challenge for its next ones.
func (d *tpmDevice) challenged() {
	d.w.t.Helper()
	d.auth = ""
	r := d.httpsDevice.register(d.text())
	require.Equal(d.w.t, 401, r.status, "%s", r.raw)
	answer := members(d.w.t, r.raw)
	assert.Len(d.w.t, answer, 3, "no error code, by which clients know a challenge")
	assert.Equal(d.w.t, "registration", answer["keyName"])
	assert.Equal(
		d.w.t, "Authorization required, resend request using supplied key", answer["message"],
	)
	key := d.unwrap(answer["authenticationKey"].(string))
	d.auth = sas.Token(scope+"/registrations/"+d.id, key, time.Now().Add(2*time.Hour)) +
		"&skn=registration"
}

// hubKey finishes a registration and returns the key of the identity at the hub.
func (d *tpmDevice) hubKey() string {
	d.w.t.Helper()
	r := d.w.finish(d, d.text())
	require.Equal(d.w.t, 200, r.status, "%s", r.raw)
	var state struct {
		TPM struct {
			AuthenticationKey string `json:"authenticationKey"`
		} `json:"tpm"`
	}
	require.NoError(d.w.t, json.Unmarshal(r.decode(d.w.t).RegistrationState, &state), "%s", r.raw)
	return base64.StdEncoding.EncodeToString(d.unwrap(state.TPM.AuthenticationKey))
}

func TestADeviceWithATPMIsAdmittedByTheActivationChallenge(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		d := w.tpmDevice("dev", version)
		defer d.close()
		d.enroll()
		d.challenged()
		_, ok := w.dps.Registration("dev")
		assert.False(t, ok, "a challenge begins nothing")
		key := d.hubKey()
		stored, ok := w.a.Get("dev")
		require.True(t, ok)
		assert.Equal(t, key, stored.PrimaryKey)
		assert.Equal(t, 204, w.atHub(hubA, "dev", nil, nil, hubToken(hubA, "dev", key)))

		// The TPM has lost the registration's key to the hub's: it begins again, without a token.
		before := d.auth
		d.challenged()
		assert.NotEqual(t, before, d.auth)
		assert.Equal(t, key, d.hubKey(), "the hub's key stays")
		good := d.auth
		d.auth = before
		r := d.register(d.text())
		assert.Equal(t, 401, r.status, "the key of an older challenge")
		assert.NotZero(t, r.decode(t).ErrorCode, "a refusal, no challenge")
		d.auth = good
		assert.Equal(t, 200, d.lookup(d.text()).status)
		assert.Contains(t, string(d.lookup(d.text()).raw), "authenticationKey", "the same model")
		time.Sleep(time.Hour)
		assert.Equal(t, 401, d.lookup(d.text()).status, "it is good for a limited time")

		again, _ := w.restart()
		d.w = again
		d.httpsDevice = again.https("dev", version, credential{})
		defer d.close()
		d.challenged()
		assert.Equal(t, key, d.hubKey(), "after a restart, too")
	})
}

func TestWhoIsNotTheEnrolledTPM(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		d, other := w.tpmDevice("dev", version), w.tpmDevice("dev", version)
		defer d.close()
		defer other.close()
		d.enroll()
		assert.Equal(t, 404201, other.register(other.text()).decode(t).ErrorCode)
		assert.Equal(t, 404201, d.register(`{"registrationId":"dev"}`).decode(t).ErrorCode)
		tpm := d.body["tpm"].(document)
		root := tpm["storageRootKey"]
		for name, wrong := range map[string]any{"none": "", "not base64": "!", "no key": "AAAA"} {
			tpm["storageRootKey"] = wrong
			assert.Equal(t, 400, d.register(d.text()).status, name)
		}
		tpm["storageRootKey"] = root
		d.challenged()
		d.auth = token("dev", key1)
		assert.Equal(t, 401, d.register(d.text()).status, "signed with another key")
		d.auth = ""
		assert.Equal(t, 401, d.poll("x", "").status)
		for _, transport := range []string{dpstest.MQTT, dpstest.WebSocket} {
			m := w.device(transport, "dev", credential{})
			r := m.register(d.text())
			assert.Equal(t, 401, r.status)
			assert.NotContains(t, string(r.raw), "authenticationKey", "over HTTPS alone")
			m.close()
		}
	})
}

func TestATPMAndASigningRequestGoTogether(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		d := w.tpmDevice("dev", "2026-11-01")
		defer d.close()
		d.enroll(issuing)
		key := csr.Key(t, elliptic.P256())
		d.body["csr"] = csr.Request(t, "dev", key)
		d.challenged()
		r := w.finish(d, d.text())
		chain := chainIn(t, r)
		require.Len(t, chain, 3)
		assert.Equal(t, 204, w.atHub(hubA, "dev", chain[0], key, ""))
	})
}
