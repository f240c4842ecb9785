// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/internal/tpmkey"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// clientSoftTPM makes a TPM's keys once: RSA keys take time.
var clientSoftTPM = sync.OnceValue(func() *tpmkey.Soft {
	soft, err := tpmkey.NewSoft()
	if err != nil {
		panic(err)
	}
	return soft
})

// clientTPM is a device with a TPM in software.
type clientTPM struct {
	dps.SymmetricKey // seals and fingerprints, which are not about the service
	soft             *tpmkey.Soft
	keys             map[dps.KeyUse][]byte
	activated        []dps.KeyUse
	broken           error
}

func (d *clientTPM) PublicKeys(context.Context) (endorsement, storageRoot []byte, err error) {
	return d.soft.EndorsementKey(), d.soft.StorageRootKey(), d.broken
}

func (d *clientTPM) Activate(_ context.Context, use dps.KeyUse, wrapped []byte) error {
	key, err := d.soft.Unwrap(wrapped)
	if err != nil {
		return err
	}
	d.keys[use] = key
	d.activated = append(d.activated, use)
	return nil
}

func (d *clientTPM) Token(
	_ context.Context, resource string, expiry time.Time,
) (string, error) {
	use := dps.ForHub
	if strings.Contains(resource, "/registrations/") {
		use = dps.ForDPS
	}
	if d.keys[use] == nil {
		return "", nil
	}
	return sas.Token(resource, d.keys[use], expiry), nil
}

func (d *clientTPM) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

// tpmDevice enrolls a device with a TPM, with a certificate policy or without.
func (w *clientWorld) tpmDevice(policy string) *clientTPM {
	w.Helper()
	d := &clientTPM{
		SymmetricKey: dps.SymmetricKey{ID: "tpm-7", Key: clientCanary}, soft: clientSoftTPM(),
		keys: map[dps.KeyUse][]byte{},
	}
	require.NoError(w, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: d.ID, CredentialPolicyName: policy,
		Attestation: dpstest.Attestation{TPM: &dpstest.TPM{
			EndorsementKey: base64.StdEncoding.EncodeToString(d.soft.EndorsementKey()),
		}},
	}))
	w.client.Attestation = d
	return d
}

// connects tells whether the hub takes a credential.
func (w *clientWorld) connects(to dps.Assignment, credential hubconn.Credential) {
	w.Helper()
	dialer := &hubconn.Dialer{
		TLSConfig: w.network.TLSConfig(), DialContext: w.network.DialContext, Proxy: clientNoProxy,
	}
	conn, err := dialer.Dial(w.Context(), to.Target(), credential)
	require.NoError(w, err)
	require.NoError(w, conn.Close())
}

func TestATPMAnswersTheChallengeAndConnectsWithTheKeyOfTheHub(t *testing.T) {
	for _, transport := range []dps.Transport{dps.HTTPS, dps.Auto} {
		clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
			d := w.tpmDevice("")
			for range 2 { // a registration always begins with a challenge
				w.dps.ResetLog()
				d.activated = nil
				assignment := w.register(dps.Registration{Payload: 1})
				assert.Equal(w, []dps.KeyUse{dps.ForDPS, dps.ForHub}, d.activated)
				assert.Equal(w, []dpstest.Op{
					dpstest.Register, dpstest.Register, dpstest.Poll, dpstest.Poll,
				}, w.requests())
				assert.Equal(w, "1", string(w.dps.Requests()[1].Payload), "the same body")
				w.connects(assignment, d)
			}
			assert.Equal(w, 2, w.network.Dials(dpstest.GlobalEndpoint), "one each")
		})
	}
}

func TestALookupByATPMUsesItsKeyWhereItHasOne(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		d := w.tpmDevice("")
		w.register(dps.Registration{})
		for name, in := range map[string]struct {
			lose     func()
			requests int
		}{
			"its key":                        {func() {}, 1},
			"no key":                         {func() { delete(d.keys, dps.ForDPS) }, 2},
			"a key that the service forgot":  {func() { time.Sleep(2 * time.Hour) }, 3},
			"a key of another registration":  {func() { d.keys[dps.ForDPS] = make([]byte, 32) }, 3},
			"no key for the hub, not needed": {func() { delete(d.keys, dps.ForHub) }, 1},
		} {
			in.lose()
			w.dps.ResetLog()
			looked, err := w.client.Lookup(w.Context())
			require.NoError(w, err, name)
			assert.Equal(w, clientHub, looked.Hub)
			assert.Len(w, w.requests(), in.requests, name)
			w.connects(looked, d)
			_, err = w.client.Lookup(w.Context()) // with a good key, for the next case
			require.NoError(w, err)
		}
	})
}

func TestATPMIsServedOverHTTPSOnly(t *testing.T) {
	for _, transport := range []dps.Transport{dps.MQTT, dps.MQTTWebSocket} {
		clientBubble(t, transport, dpstest.Config{}, func(w *clientWorld) {
			d := w.tpmDevice("")
			failure := w.refusedUnsent(dps.Registration{})
			assert.ErrorContains(w, failure, "over https only")
			assert.Equal(w, retry.Stop, failure.Verdict())
			assert.Empty(w, d.activated)
		})
	}
}

func TestATPMGetsACertificateInTheSameRegistration(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		d := w.tpmDevice("p30")
		key := clientKeys()["ecdsa p-256"]
		csr, err := dps.NewCSR(key, d.ID)
		require.NoError(w, err)
		assignment := w.register(dps.Registration{CSR: csr})
		require.Len(w, assignment.IssuedChain, 3)
		pair, err := assignment.IssuedChain.KeyPair(key, d.ID, w.network.Now())
		require.NoError(w, err)
		w.connects(assignment, dps.X509{KeyPair: pair})
	})
}

func TestAStrangersTPMIsRefused(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		d := w.tpmDevice("")
		var err error
		d.soft, err = tpmkey.NewSoft()
		require.NoError(w, err)
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 404201, failure.Code)
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

// challenge is the service's answer with a key for a TPM.
func challenge(t require.TestingT, soft *tpmkey.Soft) string {
	endorsement, err := tpmkey.ParsePublic(soft.EndorsementKey())
	require.NoError(t, err)
	root, err := tpmkey.ParsePublic(soft.StorageRootKey())
	require.NoError(t, err)
	blob, err := tpmkey.Wrap(endorsement, root, make([]byte, 32))
	require.NoError(t, err)
	body, err := json.Marshal(map[string]any{
		"message": "Authorization required", "authenticationKey": blob, "keyName": "registration",
	})
	require.NoError(t, err)
	return string(body)
}

func TestAWrongKeyForATPMIsToldAndNotQuoted(t *testing.T) {
	other, err := tpmkey.NewSoft()
	require.NoError(t, err)
	foreign := challenge(t, other)
	begin := strings.Index(foreign, `Key":"`) + 40
	for name, in := range map[string]struct{ body, want, secret string }{
		"of another tpm": {foreign, "does not take in the key for the dps", foreign[begin:][:40]},
		"of no base64":   {`{"authenticationKey":"c2VjcmV0!"}`, "is not base64", "c2VjcmV0"},
		"of nothing":     {`{"authenticationKey":"AAAA"}`, "does not take in the key", "AAAA"},
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			d := w.tpmDevice("")
			w.clientAnswers(401, in.body)
			failure := w.refused(dps.Registration{})
			assert.Equal(w, "activate", failure.Op, name)
			assert.ErrorContains(w, failure, in.want)
			assert.Equal(w, retry.Wait, failure.Verdict(), "the tpm may recover")
			assert.NotContains(w, failure.Error(), in.secret)
			assert.Empty(w, d.activated)
		})
	}
}

func TestAChallengeThatIsRepeatedForEverIsGivenUp(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		d := w.tpmDevice("")
		body, asked := challenge(w, d.soft), 0
		w.network.Handle(dpstest.GlobalEndpoint, clientSite{HandlerFunc: func(
			rw http.ResponseWriter, r *http.Request,
		) {
			asked++
			assert.Equal(w, asked == 1, r.Header.Get("Authorization") == "", "request %d", asked)
			rw.WriteHeader(401)
			_, _ = io.WriteString(rw, body)
		}})
		for _, ask := range []func(w *clientWorld) error{
			clientAsks["register"], clientAsks["lookup"],
		} {
			asked = 0
			d.keys, d.activated = map[dps.KeyUse][]byte{}, nil
			err := ask(w)
			require.ErrorContains(w, err, "challenges the tpm again after 2 keys")
			assert.Equal(w, retry.Stop, retry.Classify(err))
			failure, ok := errors.AsType[*dps.Error](err)
			require.True(w, ok)
			assert.True(w, failure.Answered())
			assert.Equal(w, 3, asked)
			assert.Len(w, d.activated, 2)
		}
	})
}

func TestAResumedRegistrationByATPMNeedsTheKeyThatBeganIt(t *testing.T) {
	for name, in := range map[string]struct {
		lose func(d *clientTPM)
		want []dpstest.Op
	}{
		"kept": {func(*clientTPM) {}, []dpstest.Op{dpstest.Poll}},
		"lost": {func(d *clientTPM) { delete(d.keys, dps.ForDPS) }, []dpstest.Op{
			dpstest.Poll, dpstest.Register, dpstest.Register, dpstest.Poll, dpstest.Poll,
		}},
		"another": {func(d *clientTPM) { d.keys[dps.ForDPS] = make([]byte, 32) }, []dpstest.Op{
			dpstest.Poll, dpstest.Register, dpstest.Register, dpstest.Poll, dpstest.Poll,
		}},
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			d := w.tpmDevice("")
			ctx, stop := context.WithCancel(w.Context())
			defer stop()
			_, err := w.client.Register(ctx, dps.Registration{
				Pending: func(string, time.Duration) { stop() },
			})
			failure := w.failed(dps.Assignment{}, err)
			time.Sleep(time.Minute)
			in.lose(d)
			w.dps.ResetLog()
			assignment := w.register(dps.Registration{OperationID: failure.OperationID})
			assert.Equal(w, in.want, w.requests(), name)
			w.connects(assignment, d)
		})
	}
}

func TestAnAssignmentWithoutAKeyForTheHubIsRefusedUnlessTheTPMHasOne(t *testing.T) {
	const assigned = `{"operationId":"5.a.b","status":"assigned","registrationState":{` +
		`"assignedHub":"h.example.net","deviceId":"d"`
	for body, want := range map[string]string{
		`}}`: "no field registrationState.tpm.authenticationKey", `,"tpm":7}}`: "field tpm is not one",
		`,"tpm":{"authenticationKey":"!"}}}`:    "authenticationKey is not base64",
		`,"tpm":{"authenticationKey":"AAAA"}}}`: "the key for the hub",
		`,"issuedCertificateChain":["a"]}}`:     "",
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			d := w.tpmDevice("")
			w.clientAnswers(200, assigned+body)
			csr, err := dps.NewCSR(clientKeys()["ecdsa p-256"], d.ID)
			require.NoError(w, err)
			if want == "" {
				assert.Len(w, w.register(dps.Registration{CSR: csr}).IssuedChain, 1)
				return
			}
			failure := w.refused(dps.Registration{CSR: csr})
			assert.ErrorContains(w, failure, want)
			assert.Equal(w, retry.Wait, failure.Verdict())
			d.keys[dps.ForHub] = make([]byte, 32)
			if body == `}}` {
				assert.Equal(w, "d", w.register(dps.Registration{}).DeviceID)
			}
		})
	}
}

func TestATPMThatFailsIsToldAsItIs(t *testing.T) {
	errTPM := errors.New("the tpm is locked out")
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.tpmDevice("").broken = errTPM
		for _, ask := range []string{"register", "lookup"} {
			err := clientAsks[ask](w)
			require.ErrorIs(w, err, errTPM)
			assert.Equal(w, retry.Wait, retry.Classify(err))
		}
		assert.Empty(w, w.requests())
	})
	assert.Equal(t, "dps hub", dps.ForDPS.String()+" "+dps.ForHub.String())
}
