// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/csr"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestAChainThatDPSIssuesIsWrongOnDemand(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev", issuing)
		key := csr.Key(w.t, elliptic.P256())
		request := `{"csr":"` + csr.Request(w.t, "dev", key) + `"}`
		issued := func(wrong hubtest.ChainFault) []string {
			time.Sleep(10 * time.Second) // for the quota of polls
			w.dps.Inject(dpstest.Fault{Chain: wrong, RegistrationID: "DEV", Transport: transport})
			d := w.deviceOf(transport, "dev", "2026-11-01", byKey("dev", key1))
			defer d.close()
			r := w.finish(d, request)
			require.Equal(w.t, "assigned", r.decode(w.t).Status, wrong)
			var state struct {
				Chain []string `json:"issuedCertificateChain"`
			}
			require.NoError(w.t, json.Unmarshal(r.decode(w.t).RegistrationState, &state))
			return state.Chain
		}
		status := func(chain []*x509.Certificate) int {
			return w.atHub(hubA, "dev", chain[0], key, "")
		}

		assert.Empty(w.t, issued(hubtest.ChainMissing))
		stored, _ := w.a.Get("dev")
		assert.Equal(w.t, "fleet/ica/p30", stored.CertificatePolicy, "it was issued, for the hub")
		for _, text := range issued(hubtest.ChainGarbage) {
			raw, err := base64.StdEncoding.DecodeString(text)
			require.NoError(w.t, err)
			assert.Equal(w.t, "this is no certificate", string(raw))
		}
		for _, text := range issued(hubtest.ChainNotBase64) {
			_, err := base64.StdEncoding.DecodeString(text)
			assert.Error(w.t, err)
		}
		chain := csr.Chain(w.t, issued(hubtest.ChainOtherKey))
		assert.False(w.t, key.PublicKey.Equal(chain[0].PublicKey))
		chain = csr.Chain(w.t, issued(hubtest.ChainExpired))
		assert.True(w.t, chain[0].NotAfter.Before(w.net.Now()))
		assert.Equal(w.t, 401, status(chain))
		chain = csr.Chain(w.t, issued(hubtest.ChainNotYetValid))
		assert.Equal(w.t, 401, status(chain))
		time.Sleep(25 * time.Hour)
		assert.Equal(w.t, 204, status(chain))
		chain = csr.Chain(w.t, issued(hubtest.ChainLong))
		assert.Len(w.t, chain, 7)
		assert.Equal(w.t, 204, status(chain))
		encoded := issued(hubtest.ChainHuge)
		assert.Greater(w.t, len(strings.Join(encoded, "")), 1<<20)
		assert.Equal(w.t, 204, status(csr.Chain(w.t, encoded)))
		der, err := base64.StdEncoding.DecodeString(issued(hubtest.ChainDER)[0])
		require.NoError(w.t, err)
		_, err = x509.ParseCertificate(der)
		require.NoError(w.t, err)

		chain = csr.Chain(w.t, issued(""))
		assert.Equal(w.t, 204, status(chain), "then it is as it should be")
	})
}

func TestFaultsOfIssuingStrikeThereAndNowhereElse(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev", issuing)
		w.enroll("plain")
		w.dps.Inject(dpstest.Fault{On: dpstest.Issue, Code: 400040, Message: "no"})
		w.dps.Inject(dpstest.Fault{On: dpstest.Issue, Code: 500001})
		plain := w.deviceOf(transport, "plain", "2026-11-01", byKey("plain", key1))
		require.Equal(w.t, "assigned", w.finish(plain, "").decode(w.t).Status)
		plain.close()

		request := `{"csr":"` + csr.Request(w.t, "dev", csr.Key(w.t, elliptic.P256())) + `"}`
		d := w.deviceOf(transport, "dev", "2026-11-01", byKey("dev", key1))
		defer d.close()
		for _, want := range []struct {
			code    int
			message string
		}{{400040, "no"}, {500001, "The certificate was not issued."}} {
			r := w.finish(d, request)
			assert.Equal(w.t, 200, r.status)
			assert.Equal(w.t, "failed", r.decode(w.t).Status)
			state := r.decode(w.t).state(w.t)
			assert.Equal(w.t, want.code, state.ErrorCode)
			assert.Contains(w.t, string(r.raw), want.message)
			assert.False(w.t, has(w.a, "dev"))
			time.Sleep(10 * time.Second)
		}
		// One on any request waits for a request: the moment of issuing is none.
		w.dps.Inject(dpstest.Fault{Skip: 2, Status: 503})
		assert.Equal(w.t, 202, d.register(request).status)
		time.Sleep(3 * time.Second)
		assert.Equal(w.t, 202, d.register(request).status)
		assert.Equal(w.t, 503, d.register(request).status)
	})
}
