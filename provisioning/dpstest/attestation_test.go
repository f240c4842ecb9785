// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"crypto/sha1"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// derived is a device's key in a group.
func derived(groupKey, id string) string {
	raw, _ := base64.StdEncoding.DecodeString(groupKey)
	return base64.StdEncoding.EncodeToString(sas.DeriveKey(raw, id))
}

// unauthorized is the code of a refused token: it was seen to differ by transport.
func unauthorized(transport string) int {
	if transport == dpstest.HTTPS {
		return 401002
	}
	return 401000
}

// refused asserts that a register request is refused with a code.
func (w *world) refused(transport, id string, c credential, code int) {
	w.t.Helper()
	d := w.device(transport, id, c)
	defer d.close()
	r := d.register("")
	assert.Equal(w.t, code/1000, r.status, "%s", r.raw)
	assert.Equal(w.t, code, r.decode(w.t).ErrorCode)
	assert.Empty(w.t, r.retryAfter)
}

func TestEitherKeyOfAnIndividualEnrollment(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		for _, key := range []string{key1, key2} {
			assert.Equal(
				w.t, hubA, w.assigned(transport, "dev", version, byKey("dev", key)).AssignedHub,
			)
		}
		w.refused(transport, "dev", byKey("dev", derived(key1, "dev")), unauthorized(transport))
		// a token for another device
		w.refused(transport, "dev", byKey("other", key1), unauthorized(transport))
		w.refused(
			transport, "dev", credential{token: "SharedAccessSignature nonsense"},
			unauthorized(transport),
		)
		w.refused(transport, "dev", credential{}, unauthorized(transport))
	})
}

func TestKeysDerivedFromEitherGroupKey(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		require.NoError(w.t, w.dps.EnrollGroup(
			dpstest.EnrollmentGroup{EnrollmentGroupID: "other", Attestation: dpstest.Keys("", "")},
		))
		require.NoError(w.t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "fleet", Attestation: dpstest.Keys(key1, key2),
		}))
		for i, key := range []string{key1, key2} {
			id := "dev-" + strconv.Itoa(i)
			d := w.device(transport, id, byKey(id, derived(key, id)))
			r := w.finish(d, "")
			d.close()
			require.Equal(w.t, 200, r.status)
			state := members(w.t, r.decode(w.t).RegistrationState)
			assert.Equal(w.t, id, state["deviceId"])
			assert.Equal(w.t, map[string]any{"enrollmentGroupId": "fleet"}, state["symmetricKey"])
			device, ok := w.a.Get(id)
			require.True(w.t, ok)
			assert.Equal(w.t, derived(key1, id), device.PrimaryKey)
			assert.Equal(w.t, derived(key2, id), device.SecondaryKey)
		}
		// the group's key itself
		w.refused(transport, "dev-0", byKey("dev-0", key1), unauthorized(transport))
		w.refused(
			transport, "dev-0", byKey("dev-0", derived(key1, "dev-1")), unauthorized(transport),
		)
	})
}

// The vector is published in Azure docs: "Symmetric key attestation".
func TestPublishedDerivation(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		const id = "sn-007-888-abc-mac-a1-b2-c3-d4-e5-f6"
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{EnrollmentGroupID: "g",
			Attestation: dpstest.Keys(
				"8isrFI1sGsIlvvFSSFRiMfCNzv21fjbE/+ah/"+
					"lSh3lF8e2YG1Te7w1KpZhJFFXJrqYKi9yegxkqIChbqOS9Egw==", "")}))
		assert.Equal(t, id, w.assigned(dpstest.HTTPS, id, version, byKey(
			id, "Jsm0lyGpjaVYVP2g3FnmnmG9dI/9qU24wNoykUmermc=",
		)).DeviceID)
	})
}

func TestEveryClientsTokenIsAccepted(t *testing.T) {
	inBubble(t, dpstest.Config{PollsPer10s: -1}, func(w *world) {
		w.enroll("dev:1")
		raw, _ := base64.StdEncoding.DecodeString(key1)
		expiry := strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10)
		sign := func(sr string) string {
			// The signature is over the text of sr as it is sent.
			s := sas.DeriveKey(raw, sr+"\n"+expiry) // HMAC-SHA256
			return url.QueryEscape(base64.StdEncoding.EncodeToString(s))
		}
		upper, lower, plain := scope+"%2Fregistrations%2Fdev%3A1", scope+
			"%2fregistrations%2fdev%3a1", scope+"/registrations/dev:1"
		for name, token := range map[string]string{
			"upper-case escapes": "sr=" + upper + "&sig=" + sign(upper) + "&se=" + expiry + "&skn=registration",
			"lower-case escapes": "sr=" + lower + "&sig=" + sign(lower) + "&se=" + expiry + "&skn=registration",
			"no escapes":         "sr=" + plain + "&sig=" + sign(plain) + "&se=" + expiry + "&skn=",
			"no key name":        "sr=" + upper + "&sig=" + sign(upper) + "&se=" + expiry,
			"another order":      "skn=registration&se=" + expiry + "&sig=" + sign(upper) + "&sr=" + upper,
		} {
			for _, transport := range []string{dpstest.HTTPS, dpstest.MQTT} {
				d := w.device(
					transport, "dev:1", credential{token: "SharedAccessSignature " + token},
				)
				assert.Equal(t, 202, d.register("").status, "%s over %s", name, transport)
				d.close()
			}
		}
	})
}

func TestTokenExpiresByTheServicesClock(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		c := byKey("dev", key1) // for an hour
		d := w.device(transport, "dev", c)
		defer d.close()
		time.Sleep(time.Hour)
		op := d.register("").decode(w.t).OperationID
		time.Sleep(time.Second)
		r := d.poll(op, "")
		assert.Equal(
			w.t, unauthorized(transport), r.decode(w.t).ErrorCode, "judged at every request",
		)
		w.net.SetClockOffset(-time.Minute)
		assert.Equal(w.t, 202, d.poll(op, "").status)
	})
	inBubble(t, dpstest.Config{ClockSkew: 5 * time.Minute}, func(w *world) {
		w.enroll("dev")
		c := byKey("dev", key1)
		time.Sleep(time.Hour + 5*time.Minute)
		d := w.https("dev", version, c)
		defer d.close()
		assert.Equal(t, 202, d.register("").status)
		time.Sleep(time.Second)
		w.refused(dpstest.HTTPS, "dev", c, 401002)
	})
}

func TestUnknownDevice(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.refused(transport, "unknown", byKey("unknown", key1), unauthorized(transport))
		w.refused(transport, "unknown", byCertificate(w.net.CA().Device("unknown")), 401002)
		_, ok := w.dps.Registration("unknown")
		assert.False(w.t, ok)
		_, ok = w.a.Get("unknown")
		assert.False(w.t, ok)
	})
	onEach(t, dpstest.Config{UnknownEnrollmentCode: 404201}, func(w *world, transport string) {
		w.refused(transport, "unknown", byKey("unknown", key1), 404201)
	})
	inBubble(t, dpstest.Config{}, func(w *world) {
		d := w.https("unknown", version, credential{})
		defer d.close()
		r := d.register(`{"registrationId":"unknown","tpm":{"endorsementKey":"AToAAQALAAMAsgAg"}}`)
		assert.Equal(t, 404201, r.decode(t).ErrorCode, "a TPM nobody enrolled")
	})
}

func TestRegistrationIDsHaveNoCase(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("Sensor-1")
		state := w.assigned(transport, "SENSOR-1", version, byKey("SENSOR-1", key1))
		assert.Equal(w.t, "SENSOR-1", state.DeviceID)
		state = w.assigned(transport, "sensor-1", version, byKey("sensor-1", key1))
		assert.Equal(w.t, "SENSOR-1", state.DeviceID, "the same device")

		require.NoError(w.t, w.dps.EnrollGroup(
			dpstest.EnrollmentGroup{EnrollmentGroupID: "g", Attestation: dpstest.Keys(key1, "")},
		))
		w.assigned(transport, "Grouped-1", version, byKey("Grouped-1", derived(key1, "Grouped-1")))
		w.assigned(transport, "Grouped-2", version, byKey("Grouped-2", derived(key1, "grouped-2")))
	})
}

func TestIndividualEnrollmentDecidesAlone(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		require.NoError(w.t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "fleet", Attestation: dpstest.Keys(key1, ""),
		}))
		c := byKey("dev", derived(key1, "dev"))
		w.assigned(transport, "dev", version, c)
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.Attestation = dpstest.Keys(derived(key1, "dev"), "")
			e.ProvisioningStatus = dpstest.Disabled
		})
		d := w.device(transport, "dev", c)
		defer d.close()
		assert.Equal(
			w.t, "disabled", w.finish(d, "").decode(w.t).Status,
			"though the group would let it register",
		)
		_, ok := w.a.Get("dev")
		assert.True(w.t, ok, "the hub is not told")

		require.NoError(w.t, w.dps.SetEnabled("dev", true))
		assert.Equal(w.t, "assigned", w.finish(d, "").decode(w.t).Status)
		require.NoError(w.t, w.dps.SetEnabled("fleet", false))
		assert.Equal(
			w.t, "assigned", w.finish(d, "").decode(w.t).Status, "its own enrollment is enabled",
		)
		assert.True(w.t, w.dps.RemoveEnrollment("dev"))
		assert.Equal(w.t, "disabled", w.finish(d, "").decode(w.t).Status, "now the group decides")
		assert.True(w.t, w.dps.RemoveGroup("fleet"))
		assert.Equal(w.t, 401, d.register("").status)
		assert.Error(w.t, w.dps.SetEnabled("fleet", true))
	})
}

func sha1Of(c tls.Certificate) string {
	sum := sha1.Sum(c.Leaf.Raw)
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

func TestEitherCertificateOfAnIndividualEnrollment(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		ca := simnet.NewCA("Any", time.Now())
		one, two, three := ca.Device("dev"), ca.Device("DEV"), ca.Device("dev")
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.Attestation = dpstest.ClientCertificates(one.Leaf, two.Leaf)
		})
		for _, c := range []tls.Certificate{one, two} {
			d := w.device(transport, "dev", byCertificate(c))
			r := w.finish(d, "")
			d.close()
			require.Equal(w.t, 200, r.status)
			assert.True(
				w.t, strings.HasPrefix(string(r.decode(w.t).RegistrationState), `{"x509":{},`),
				"%s", r.raw,
			)
			device, _ := w.a.Get("dev")
			assert.Equal(w.t, sha1Of(c), device.PrimaryThumbprint, "the certificate it came with")
			assert.Empty(w.t, device.SecondaryThumbprint)
			assert.Empty(w.t, device.PrimaryKey)
		}
		w.refused(transport, "dev", byCertificate(three), 401002)
		w.refused(transport, "dev", byKey("dev", key1), 401002)
		w.refused(transport, "dev", credential{}, 401002)

		e, ok := w.dps.Enrollment("dev")
		require.True(w.t, ok)
		assert.Equal(
			w.t, sha1Of(one), e.Attestation.X509.ClientCertificates.Primary.Info.SHA1Thumbprint,
		)
		require.NotNil(w.t, e.RegistrationState)
	})
}

func TestCertificatesAreJudgedByTheServicesClock(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		now := time.Now()
		own := simnet.NewCA("Own", now)
		for _, between := range [][2]time.Duration{
			{-time.Hour, -time.Minute}, {time.Minute, time.Hour},
		} {
			c := own.DeviceBetween("dev", now.Add(between[0]), now.Add(between[1]))
			w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
				e.Attestation = dpstest.ClientCertificates(c.Leaf, nil)
			})
			w.refused(transport, "dev", byCertificate(c), 401002)
			require.True(w.t, w.dps.RemoveEnrollment("dev"))
			require.NoError(w.t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
				EnrollmentGroupID: "g",
				Attestation:       dpstest.SigningCertificates(own.Certificate(), nil),
			}))
			w.refused(transport, "dev", byCertificate(c), 401002)
			w.net.SetClockOffset((between[0] + between[1]) / 2)
			w.assigned(transport, "dev", version, byCertificate(c))
			w.net.SetClockOffset(0)
			require.True(w.t, w.dps.RemoveGroup("g"))
		}
	})
}

func TestNearestAuthorityDecides(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		root := simnet.NewCA("Root", time.Now())
		middle := root.Intermediate("Middle")
		issuer := middle.Intermediate("Issuer")
		group := func(id string, ca *simnet.CA, status string) {
			require.NoError(w.t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
				EnrollmentGroupID: id, ProvisioningStatus: status,
				Attestation: dpstest.SigningCertificates(ca.Certificate(), nil),
			}))
		}
		c := issuer.Device("dev") // leaf, issuer, middle
		by := func(c tls.Certificate) string {
			w.t.Helper()
			d := w.device(transport, "dev", byCertificate(c))
			defer d.close()
			r := w.finish(d, "")
			require.Equal(w.t, 200, r.status, "%s", r.raw)
			if r.decode(w.t).Status != "assigned" {
				return r.decode(w.t).Status
			}
			x509 := members(w.t, r.decode(w.t).RegistrationState)["x509"].(map[string]any)
			return x509["enrollmentGroupId"].(string)
		}
		w.refused(transport, "dev", byCertificate(c), 401002)
		group("a-root", root, "")
		assert.Equal(w.t, "a-root", by(c), "which the device does not send")
		group("z-issuer", issuer, "")
		assert.Equal(w.t, "z-issuer", by(c))
		group("m-middle", middle, "")
		assert.Equal(w.t, "z-issuer", by(c))
		group("z-issuer", issuer, dpstest.Disabled)
		assert.Equal(w.t, "disabled", by(c), "the nearest decides, even against the device")
		require.True(w.t, w.dps.RemoveGroup("z-issuer"))
		assert.Equal(w.t, "m-middle", by(c))
		device, _ := w.a.Get("dev")
		assert.Equal(w.t, sha1Of(c), device.PrimaryThumbprint, "the leaf's, even in a group")

		bare := c
		bare.Certificate = c.Certificate[:1]
		w.refused(transport, "dev", byCertificate(bare), 401002) // the issuer is missing
		w.refused(
			transport, "dev",
			byCertificate(simnet.NewCA("Root", time.Now()).Intermediate("Issuer").Device("dev")),
			401002,
		)

		bare.Certificate = c.Certificate[:2]
		assert.Equal(w.t, "m-middle", by(bare), "up to the enrolled signer is enough")
	})
}

func TestAuthorityByName(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		ca := simnet.NewCA("Named", time.Now())
		c := byCertificate(ca.Device("dev"))
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g", Attestation: dpstest.Attestation{
				Type: dpstest.TypeX509,
				X509: &dpstest.X509{
					CAReferences: &dpstest.CAReferences{Primary: "gone", Secondary: "factory"},
				},
			},
		}))
		w.refused(dpstest.HTTPS, "dev", c, 401002)
		w.dps.AddCA("factory", ca.Certificate())
		w.assigned(dpstest.HTTPS, "dev", version, c)
	})
}

func TestCommonNameIsTheRegistrationID(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		ca := simnet.NewCA("CA", time.Now())
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g", Attestation: dpstest.SigningCertificates(ca.Certificate(), nil),
		}))
		w.assigned(dpstest.HTTPS, "dev-1", version, byCertificate(ca.Device("DEV-1")))
		w.refused(dpstest.HTTPS, "dev-1", byCertificate(ca.Device("dev-2")), 401002)
		w.refused(dpstest.HTTPS, "dev-1", byCertificate(ca.Device("")), 401002)
		for _, transport := range []string{dpstest.MQTT, dpstest.WebSocket} {
			for _, name := range []string{"dev-2", ""} {
				d := w.mqtt(
					transport, "dev-1", userName("dev-1", version), byCertificate(ca.Device(name)),
				)
				assert.Equal(t, byte(5), d.connack.ReturnCode)
				d.ended()
			}
		}
	})
}

func TestEnrollmentsAreChecked(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		ca := w.net.CA().Certificate()
		for field, e := range map[string]dpstest.IndividualEnrollment{
			"registrationId":         {RegistrationID: "no spaces", Attestation: dpstest.Keys("", "")},
			"primaryKey":             {RegistrationID: "d", Attestation: dpstest.Keys("not base64!", "")},
			"secondaryKey":           {RegistrationID: "d", Attestation: dpstest.Keys("", "c2hvcnQ=")},
			"clientCertificates":     {RegistrationID: "d", Attestation: dpstest.SigningCertificates(ca, nil)},
			"primary.certificate":    {RegistrationID: "d", Attestation: dpstest.Attestation{X509: &dpstest.X509{ClientCertificates: &dpstest.Certificates{Primary: &dpstest.Certificate{Certificate: "AAAA"}}}}},
			"attestation.type":       {RegistrationID: "d", Attestation: dpstest.Attestation{Type: "none"}},
			"endorsementKey":         {RegistrationID: "d", Attestation: dpstest.Attestation{Type: dpstest.TypeTPM}},
			"provisioningStatus":     {RegistrationID: "d", ProvisioningStatus: "maybe"},
			"allocationPolicy":       {RegistrationID: "d", AllocationPolicy: "random"},
			"iotHubs":                {RegistrationID: "d", AllocationPolicy: dpstest.PolicyStatic},
			"attestation.x509: miss": {RegistrationID: "d", Attestation: dpstest.Attestation{Type: dpstest.TypeX509}},
		} {
			err := w.dps.Enroll(e)
			assert.ErrorContains(t, err, field)
			assert.NotContains(t, err.Error(), "\n")
			_, ok := w.dps.Enrollment("d")
			assert.False(t, ok)
		}
		assert.ErrorContains(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{}), "enrollmentGroupId")
		assert.ErrorContains(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g", Attestation: dpstest.ClientCertificates(ca, nil),
		}), "signingCertificates")
		assert.ErrorContains(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g",
			Attestation:       dpstest.Attestation{TPM: &dpstest.TPM{EndorsementKey: "x"}},
		}), "tpm")

		require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{RegistrationID: "d"}))
		e, ok := w.dps.Enrollment("D")
		require.True(t, ok)
		raw, err := base64.StdEncoding.DecodeString(e.Attestation.SymmetricKey.PrimaryKey)
		require.NoError(t, err)
		assert.Len(t, raw, 64, "generated")
		assert.Equal(t, dpstest.Enabled, e.ProvisioningStatus)
		w.assigned(dpstest.HTTPS, "d", version, byKey("d", e.Attestation.SymmetricKey.SecondaryKey))
	})
}
