// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// issuesCertificates gives the enrollment a certificate policy.
func (w *clientWorld) issuesCertificates() {
	w.Helper()
	key, ok := w.client.Attestation.(dps.SymmetricKey)
	require.True(w, ok)
	require.NoError(w, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: clientID, Attestation: dpstest.Keys(key.Key, ""),
		NamespaceName: "fleet", CertificateAuthorityName: "ica", CertificatePolicyName: "p30",
	}))
}

// csr makes a request with a key.
func (w *clientWorld) csr(key crypto.Signer) []byte {
	w.Helper()
	der, err := dps.NewCSR(key, clientID)
	require.NoError(w, err)
	return der
}

func TestACertificateIsIssuedForARequest(t *testing.T) {
	for _, kind := range []string{"ecdsa p-256", "ecdsa p-384", "rsa 2048"} {
		key := clientSigner{clientKeys()[kind]}
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.issuesCertificates()
			assignment := w.register(dps.Registration{
				CSR: w.csr(key), Payload: map[string]int{"a": 1},
			})
			assert.Equal(w, clientHub, assignment.Hub)
			require.Len(w, assignment.IssuedChain, 3, kind)
			for _, r := range w.dps.Requests() {
				assert.Equal(w, "2026-11-02-preview", r.APIVersion)
			}
			assert.JSONEq(w, `{"a":1}`, string(w.dps.Requests()[firstRegister(w)].Payload))

			chain := assignment.IssuedChain
			pair, err := chain.KeyPair(key, strings.ToUpper(clientID), w.network.Now())
			require.NoError(w, err)
			require.NotNil(w, pair.Leaf)
			assert.Equal(w, clientID, pair.Leaf.Subject.CommonName)
			dialer := &hubconn.Dialer{
				TLSConfig: w.network.TLSConfig(), DialContext: w.network.DialContext,
				Proxy: clientNoProxy,
			}
			conn, err := dialer.Dial(w.Context(), assignment.Target(), dps.X509{KeyPair: pair})
			require.NoError(w, err, "the hub takes it")
			require.NoError(w, conn.Close())

			looked, err := w.client.Lookup(w.Context())
			require.NoError(w, err)
			assert.Nil(w, looked.IssuedChain)
			assert.Nil(w, w.register(dps.Registration{}).IssuedChain, "none was asked for")
		})
	}
}

func TestWithoutAPolicyTheDeviceIsAssignedWithoutACertificate(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		assignment := w.register(dps.Registration{CSR: w.csr(clientKeys()["ecdsa p-256"])})
		assert.Equal(w, clientHub, assignment.Hub)
		assert.Nil(w, assignment.IssuedChain)
	})
}

func TestTheAPIVersionOfARequestCanBeSet(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.issuesCertificates()
		w.client.APIVersion = "2026-11-01"
		key := clientKeys()["ecdsa p-384"]
		assert.Len(w, w.register(dps.Registration{CSR: w.csr(key)}).IssuedChain, 3)
		for _, r := range w.dps.Requests() {
			assert.Equal(w, "2026-11-01", r.APIVersion)
		}
	})
}

func TestAResumedRegistrationBringsTheCertificateThatItsFirstPartAskedFor(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.issuesCertificates()
		key := clientKeys()["ecdsa p-256"]
		ctx, stop := context.WithCancel(w.Context())
		defer stop()
		r := dps.Registration{CSR: w.csr(key), Pending: func(string, time.Duration) { stop() }}
		_, err := w.client.Register(ctx, r)
		failure := w.failed(dps.Assignment{}, err)
		require.NotEmpty(w, failure.OperationID)
		time.Sleep(time.Minute)
		r.OperationID, r.Pending = failure.OperationID, nil
		pair, err := w.register(r).IssuedChain.KeyPair(key, clientID, w.network.Now())
		require.NoError(w, err)
		assert.NotNil(w, pair.Leaf)
		r.CSR = nil
		assert.Nil(w, w.register(r).IssuedChain, "nobody says whose key it is for")
	})
}

func TestAMalformedChainCostsTheDeviceNoAssignment(t *testing.T) {
	key := clientKeys()["ecdsa p-256"]
	for chain, certificates := range map[string]int{
		`"text"`: 1, `7`: 1, `{"0":"a"}`: 1, `[7,null]`: 2, `["!"]`: 1, `[["a"]]`: 1, `true`: 1,
		`["a","b","c","d","e","f","g"]`: 7, `["` + strings.Repeat("A", 100<<10) + `"]`: 1,
		`[]`: 0, `null`: 0,
	} {
		clientEach(t, dpstest.Config{}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 200, Body: []byte(
				`{"operationId":"5.a.b","status":"assigned","registrationState":{"assignedHub":"` +
					clientHub + `","deviceId":"d","issuedCertificateChain":` + chain + `}}`,
			)})
			assignment := w.register(dps.Registration{CSR: w.csr(key)})
			assert.Equal(w, clientHub, assignment.Hub)
			assert.Len(w, assignment.IssuedChain, certificates, "%.40s", chain)
			assert.Equal(w, certificates == 0, assignment.IssuedChain == nil)
			_, err := assignment.IssuedChain.KeyPair(key, clientID, w.network.Now())
			require.Error(w, err)
			assert.NotContains(w, err.Error(), "\n")
		})
	}
}

func TestARequestThatTheServiceRefusesIsToldWithItsCode(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		w.issuesCertificates()
		require.True(w, w.dps.Issuer().DeletePolicy("fleet/ica/p30"))
		failure := w.refused(dps.Registration{CSR: w.csr(clientKeys()["ecdsa p-256"])})
		assert.Equal(w, "failed", failure.State)
		assert.Equal(w, 400040, failure.Code)
	})
}

func TestWhatIsNoRequestForThisDeviceIsNotSent(t *testing.T) {
	key := clientKeys()["ecdsa p-256"]
	request := func(name string, extra ...pkix.Extension) []byte {
		der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
			Subject: pkix.Name{CommonName: name}, ExtraExtensions: extra,
		}, key)
		require.NoError(t, err)
		return der
	}
	good := request(clientID)
	broken := append([]byte(nil), good...)
	broken[len(broken)-1] ^= 1
	armoured := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: good})
	large := request(clientID, pkix.Extension{Id: []int{1, 2, 3}, Value: make([]byte, 7000)})
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		for want, csr := range map[string][]byte{
			`common name "another" is not the registration id "sensor-042"`:    request("another"),
			`common name "Sensor-042" is not the registration id "sensor-042"`: request("Sensor-042"),
			"neither pem nor base64": armoured, "not a pkcs #10 request": {},
			"not signed by the key": broken, "at most 8192": large,
		} {
			failure := w.refusedUnsent(dps.Registration{CSR: csr})
			assert.ErrorContains(w, failure, want)
			assert.Equal(w, retry.Stop, failure.Verdict())
		}
		require.NoError(w, dps.Registration{CSR: good}.Validate())
		require.ErrorContains(w, dps.Registration{CSR: armoured}.Validate(), "csr")
	})
}

func TestACSRIsMadeForKeysThatCertificatesAreIssuedFor(t *testing.T) {
	algorithms := map[string]x509.SignatureAlgorithm{
		"ecdsa p-256": x509.ECDSAWithSHA256, "ecdsa p-384": x509.ECDSAWithSHA384,
		"rsa 2048": x509.SHA256WithRSA,
	}
	for kind, want := range algorithms {
		der, err := dps.NewCSR(clientSigner{clientKeys()[kind]}, "a.B-1")
		require.NoError(t, err)
		request, err := x509.ParseCertificateRequest(der)
		require.NoError(t, err)
		require.NoError(t, request.CheckSignature())
		assert.Equal(t, "CN=a.B-1", request.Subject.String())
		assert.Empty(t, request.Extensions)
		assert.Equal(t, want, request.SignatureAlgorithm)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	require.NoError(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	good := clientKeys()["ecdsa p-256"]
	for want, in := range map[string]struct {
		key  crypto.Signer
		name string
	}{
		"the key is missing": {nil, "a"}, "elliptic curve": {p521, "a"}, "of a kind": {ed, "a"},
		"registration id is empty": {good, ""}, "65 characters": {good, strings.Repeat("a", 65)},
		"illegal character": {good, "a/b"},
	} {
		_, err := dps.NewCSR(in.key, in.name)
		require.ErrorContains(t, err, want)
		assert.Equal(t, retry.Stop, retry.Classify(err))
	}
}

func TestAChainPrintsAsItsLengthAlone(t *testing.T) {
	chain := dps.Chain{clientCanary, clientCanary}
	assignment := dps.Assignment{IssuedChain: chain}
	encoded, err := json.Marshal(assignment)
	require.NoError(t, err)
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	logger.Info("x", "chain", chain, "assignment", assignment)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "chain", chain, "assignment", assignment)
	for _, text := range []string{
		chain.String(), chain.GoString(), string(encoded), log.String(),
		fmt.Sprintf("%v %+v %#v %s %q %d %x", chain, chain, chain, chain, chain, chain, chain),
		fmt.Sprintf("%v %+v %#v %s", assignment, assignment, assignment, []any{assignment}),
	} {
		assert.Contains(t, text, "2 certificates")
		assert.NotContains(t, text, clientCanary)
		assert.NotContains(t, text, fmt.Sprintf("%x", clientCanary))
	}
	assert.Equal(t, "1 certificate", chain[:1].String())
	encoded, err = json.Marshal(dps.Chain(nil))
	require.NoError(t, err)
	assert.Equal(t, "null", string(encoded))
}
