// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/csr"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// withIssuing are the API versions that issue certificates.
var withIssuing = []string{"2025-07-01-preview", "2026-11-01", "2026-11-02-preview"}

// hubToken is a device's token for its hub.
func hubToken(hub, id, key string) string {
	raw, _ := base64.StdEncoding.DecodeString(key)
	return sas.Token(hub+"/devices/"+id, raw, time.Now().Add(time.Hour))
}

func issuing(e *dpstest.IndividualEnrollment) {
	e.NamespaceName, e.CertificateAuthorityName, e.CertificatePolicyName = "fleet", "ica", "p30"
}

// chainIn reads the chain of a final answer, leaf first; nil where there is none.
func chainIn(t *testing.T, r result) []*x509.Certificate {
	t.Helper()
	var state struct {
		Chain []string `json:"issuedCertificateChain"`
	}
	require.NoError(t, json.Unmarshal(r.decode(t).RegistrationState, &state))
	return csr.Chain(t, state.Chain)
}

// atHub sends a message to a hub over HTTPS and returns the status.
func (w *world) atHub(hub, id string, c *x509.Certificate, key crypto.Signer, token string) int {
	w.t.Helper()
	cfg := w.net.TLSConfig()
	if c != nil {
		cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{c.Raw}, PrivateKey: key}}
	}
	client := &http.Client{Transport: &http.Transport{
		DialContext: w.net.DialContext, TLSClientConfig: cfg,
	}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequest(
		"POST", "https://"+hub+"/devices/"+id+"/messages/events?api-version=2021-04-12",
		strings.NewReader("x"),
	)
	require.NoError(w.t, err)
	if token != "" {
		req.Header.Set("Authorization", token)
	}
	response, err := client.Do(req)
	require.NoError(w.t, err)
	_ = response.Body.Close()
	return response.StatusCode
}

func TestACertificateIsIssuedAtRegistration(t *testing.T) {
	onEach(t, dpstest.Config{PollsPer10s: -1}, func(w *world, transport string) {
		w.enroll("dev", issuing)
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g", Attestation: dpstest.Keys(key2, ""),
			CredentialPolicyName: "single",
		}))
		for id, c := range map[string]credential{
			"dev": byKey("dev", key1), "in-group": byKey("in-group", derived(key2, "in-group")),
		} {
			for _, v := range withIssuing {
				key := csr.Key(w.t, elliptic.P256())
				body := `{"csr":"` + csr.Request(w.t, id, key) + `","payload":{"a":1}}`
				d := w.deviceOf(transport, id, v, c)
				r := d.register(body)
				require.Equal(w.t, 202, r.status, "%s", r.raw)
				op := r.decode(w.t).OperationID
				r = d.poll(op, "")
				assert.NotContains(w.t, string(r.raw), "issuedCertificateChain")
				time.Sleep(3 * time.Second)
				r = d.poll(op, "")
				require.Equal(w.t, 200, r.status)
				chain := chainIn(w.t, r)
				require.Len(w.t, chain, 3, "%s %s", v, r.raw)
				for i, c := range chain[:2] {
					require.NoError(w.t, c.CheckSignatureFrom(chain[i+1]))
				}
				assert.Equal(w.t, id, chain[0].Subject.CommonName)
				assert.True(w.t, key.PublicKey.Equal(chain[0].PublicKey))
				assert.WithinDuration(
					w.t, w.net.Now().Add(30*24*time.Hour), chain[0].NotAfter, time.Minute,
				)
				assert.Equal(w.t, chain, chainIn(w.t, d.poll(op, "")), "and again")
				d.close()
				assert.Equal(w.t, 204, w.atHub(hubA, id, chain[0], key, ""))

				look := w.https(id, v, c)
				assert.NotContains(w.t, string(look.lookup("").raw), "issuedCertificateChain")
				refused := look.lookup(body)
				assert.Equal(w.t, 400, refused.status)
				assert.Equal(w.t, 400004, refused.decode(w.t).ErrorCode)
				look.close()
			}
		}
		stored, _ := w.a.Get("dev")
		assert.Equal(w.t, "fleet/ica/p30", stored.CertificatePolicy)
		assert.Empty(w.t, stored.PrimaryKey)
		token := hubToken(hubA, "dev", key1)
		assert.Equal(w.t, 401, w.atHub(hubA, "dev", nil, nil, token), "the hub has no key of it")
		stored, _ = w.a.Get("in-group")
		assert.Equal(w.t, "default/default/single", stored.CertificatePolicy)
	})
}

func TestWhatHappensWithoutAPolicyOrARequest(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("plain")
		w.enroll("dev", issuing)
		key := csr.Key(w.t, elliptic.P384())
		for name, c := range map[string]struct{ id, version, body string }{
			"no policy":            {"plain", "2026-11-01", `{"csr":"` + csr.Request(w.t, "plain", key) + `"}`},
			"no request":           {"dev", "2026-11-01", `{}`},
			"null":                 {"dev", "2026-11-01", `{"csr":null}`},
			"a version without it": {"dev", "2021-06-01", `{"csr":"` + csr.Request(w.t, "dev", key) + `"}`},
		} {
			d := w.deviceOf(transport, c.id, c.version, byKey(c.id, key1))
			r := w.finish(d, c.body)
			d.close()
			require.Equal(w.t, "assigned", r.decode(w.t).Status, name)
			assert.NotContains(w.t, string(r.raw), "issuedCertificateChain", name)
			stored, _ := w.a.Get(c.id)
			assert.Equal(w.t, key1, stored.PrimaryKey, name)
			assert.Empty(w.t, stored.CertificatePolicy, name)
		}
	})
}

func TestWrongRequestsForACertificate(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev", issuing)
		key := csr.Key(w.t, elliptic.P256())
		good := csr.Request(w.t, "dev", key)
		d := w.deviceOf(transport, "dev", "2026-11-01", byKey("dev", key1))
		defer func() { d.close() }()
		for name, request := range map[string]string{
			"another name": csr.Request(w.t, "dev2", key), "not base64": "!", "empty": "",
			"above 8 KB": strings.Repeat("AAAA", 2049), "a line break": good[:8] + `\n` + good[8:],
		} {
			r := d.register(`{"csr":"` + request + `"}`)
			assert.Equal(w.t, 400, r.status, name)
			assert.Equal(w.t, 400004, r.decode(w.t).ErrorCode, name)
		}
		assert.Equal(w.t, 400, d.register(`{"csr":7}`).status)
		_, ok := w.dps.Registration("dev")
		assert.False(w.t, ok, "nothing was begun")

		broken, err := base64.StdEncoding.DecodeString(good)
		require.NoError(w.t, err)
		broken[len(broken)-1] ^= 1
		weak, err := rsa.GenerateKey(rand.Reader, 1024)
		require.NoError(w.t, err)
		for name, request := range map[string]string{
			"no request":  base64.StdEncoding.EncodeToString([]byte("no request")),
			"signature":   base64.StdEncoding.EncodeToString(broken),
			"curve":       csr.Request(w.t, "dev", csr.Key(w.t, elliptic.P521())),
			"RSA of 1024": csr.Request(w.t, "dev", weak),
		} {
			r := w.finish(d, `{"csr":"`+request+`"}`)
			assert.Equal(w.t, 200, r.status, name)
			assert.Equal(w.t, "failed", r.decode(w.t).Status, name)
			assert.Equal(w.t, 400037, r.decode(w.t).state(w.t).ErrorCode, name)
			time.Sleep(10 * time.Second)
		}
		assert.False(w.t, has(w.a, "dev"))
		require.True(w.t, w.dps.Issuer().DeletePolicy("fleet/ica/p30"))
		r := w.finish(d, `{"csr":"`+good+`"}`)
		assert.Equal(w.t, 400040, r.decode(w.t).state(w.t).ErrorCode, "a deleted policy")
	})
}

func TestIssuedCertificatesGoWithTheDevice(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		enroll := func(hub string, migrate bool) {
			w.enroll("dev", issuing, func(e *dpstest.IndividualEnrollment) {
				e.IoTHubs = []string{hub}
				e.ReprovisionPolicy = &dpstest.ReprovisionPolicy{
					UpdateHubAssignment: true, MigrateDeviceData: migrate,
				}
			})
		}
		key := csr.Key(t, elliptic.P256())
		register := func() *x509.Certificate {
			d := w.deviceOf(dpstest.HTTPS, "dev", "2026-11-01", byKey("dev", key1))
			defer d.close()
			chain := chainIn(t, w.finish(d, `{"csr":"`+csr.Request(t, "dev", key)+`"}`))
			require.NotEmpty(t, chain)
			return chain[0]
		}
		enroll(hubA, true)
		first := register()
		for _, migrate := range []bool{true, false} {
			enroll(hubB, migrate)
			second := register()
			for _, c := range []*x509.Certificate{first, second} {
				assert.Equal(t, 204, w.atHub(hubB, "dev", c, key, ""), "each until its end")
			}
			enroll(hubA, migrate)
			register()
		}
		require.True(t, w.a.RevokeCredentials("dev"))
		require.NoError(t, w.dps.MoveNow("dev", hubB))
		assert.Equal(t, 401, w.atHub(hubB, "dev", first, key, ""), "a revocation stays")
		require.NoError(t, w.dps.MoveNow("dev", hubA))
		require.NoError(t, w.dps.Move("dev", ""))
		fresh := register()
		assert.Equal(t, 204, w.atHub(hubA, "dev", fresh, key, ""))

		again, _ := w.restart()
		assert.Equal(t, 204, again.atHub(hubA, "dev", fresh, key, ""), "a restart changes nothing")
		time.Sleep(31 * 24 * time.Hour)
		assert.Equal(t, 401, again.atHub(hubA, "dev", fresh, key, ""))

		d := again.device(dpstest.HTTPS, "dev", byKey("dev", key1))
		again.finish(d, "")
		d.close()
		assert.Equal(
			t, 204, again.atHub(hubA, "dev", nil, nil, hubToken(hubA, "dev", key1)),
			"without a request it proves itself as it does at DPS",
		)
	})
}

func TestOnboardingByCertificateEndsInAnotherOne(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		ca := simnet.NewCA("Factory", w.net.Now())
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "line",
			Attestation:       dpstest.SigningCertificates(ca.Certificate(), nil),
			NamespaceName:     "fleet", CertificateAuthorityName: "ica",
			CertificatePolicyName: "p30",
		}))
		require.NoError(t, w.dps.Issuer().SetPolicy(hubtest.CertificatePolicy{
			Namespace: "fleet", Authority: "ica", Name: "p30", Validity: time.Hour,
		}))
		onboarding := ca.Device("cam")
		d := w.deviceOf(dpstest.MQTT, "cam", "2026-11-01", byCertificate(onboarding))
		defer d.close()
		key := csr.Key(t, elliptic.P384())
		chain := chainIn(t, w.finish(d, `{"csr":"`+csr.Request(t, "cam", key)+`"}`))
		require.Len(t, chain, 3)
		assert.Equal(t, 204, w.atHub(hubA, "cam", chain[0], key, ""))
		signer := onboarding.PrivateKey.(crypto.Signer)
		assert.Equal(t, 401, w.atHub(hubA, "cam", onboarding.Leaf, signer, ""))
		time.Sleep(time.Hour + time.Second)
		assert.Equal(t, 401, w.atHub(hubA, "cam", chain[0], key, ""), "expired")
	})
}

func TestNamesOfCertificatePoliciesAreChecked(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		for name, set := range map[string]func(*dpstest.IndividualEnrollment){
			"namespaceName":            func(e *dpstest.IndividualEnrollment) { e.NamespaceName = "fleet" },
			"certificatePolicyName":    func(e *dpstest.IndividualEnrollment) { e.CertificatePolicyName = "fleet" },
			"certificateAuthorityName": func(e *dpstest.IndividualEnrollment) { e.CertificateAuthorityName = "ica" },
			"Name":                     func(e *dpstest.IndividualEnrollment) { e.CredentialPolicyName = "-" },
		} {
			e := dpstest.IndividualEnrollment{RegistrationID: "dev"}
			set(&e)
			assert.ErrorContains(t, w.dps.Enroll(e), name)
		}
		o := w.service()
		body := symmetric("dev")
		body["namespaceName"], body["certificateAuthorityName"] = "fleet", "ica"
		assert.Equal(t, 400000, o.refused(400, "PUT", "/enrollments/dev", body))
		body["certificatePolicyName"] = "p30"
		assert.Equal(t, "p30", o.must("PUT", "/enrollments/dev", body)["certificatePolicyName"])
	})
}
