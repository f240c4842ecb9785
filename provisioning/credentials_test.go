// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

var secondKey = base64.StdEncoding.EncodeToString([]byte("second-key-0123456789-second-key"))

var keyWirings = []wiring{{}, {dps: dps.MQTT}, {dps: dps.MQTTWebSocket, ws: true}, {auto: true}}

// twoKeys is a device that has both keys of its enrollment.
func (r *rig) twoKeys() *provisioning.Device {
	dev := r.device()
	dev.SecondAttestation = dps.SymmetricKey{ID: rigID, Key: secondKey}
	return dev
}

// rotate replaces the enrollment's primary key, at DPS and at the hub where it is known.
func (r *rig) rotate() {
	r.t.Helper()
	fresh := base64.StdEncoding.EncodeToString([]byte("another-key-0123456789-another-k"))
	r.enrollWith(hubA, func(e *dpstest.IndividualEnrollment) {
		e.Attestation = dpstest.Keys(fresh, secondKey)
	})
	if d, ok := r.a.Get(rigID); ok {
		d.PrimaryKey, d.SecondaryKey = fresh, secondKey
		require.NoError(r.t, r.a.Put(d))
	}
}

func (r *rig) bothKeys() {
	r.t.Helper()
	r.enrollWith(hubA, func(e *dpstest.IndividualEnrollment) {
		e.Attestation = dpstest.Keys(rigKey, secondKey)
	})
}

func TestASecondKeyIsShownAtOnceWhereTheFirstIsRefused(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		r.bothKeys()
		dev := r.twoKeys()
		stop := r.run(dev)
		r.await(0, time.Minute)
		assert.Equal(t, provisioning.CredentialAttestation, dev.Status().Credential)
		stop()

		r.rotate()
		r.reset()
		dev = r.twoKeys()
		stop = r.run(dev)
		assert.Less(t, r.await(0, time.Minute).at, 3*time.Second, "without any wait")
		s := dev.Status()
		assert.Equal(t, provisioning.CredentialSecond, s.Credential)
		assert.Contains(t, s.CredentialCause, "attestation: ")
		assert.Zero(t, r.asked(), "DPS is asked for nothing")
		assert.Len(t, r.a.Attempts(), 2)
		require.True(t, r.a.Disconnect(rigID))
		r.await(1, time.Minute)
		assert.Len(t, r.a.Attempts(), 3, "what was accepted goes first from then on")
		time.Sleep(25 * time.Hour)
		r.reset()
		require.True(t, r.a.Disconnect(rigID))
		r.await(0, time.Minute)
		assert.Len(t, r.a.Attempts(), 2, "for a day, in which the first may have been put right")
		stop()
	})
}

func TestDPSIsShownTheSecondKeyWhereItRefusesTheFirst(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		r.bothKeys()
		r.rotate()
		dev := r.twoKeys()
		stop := r.run(dev)
		assert.Less(t, r.await(0, time.Minute).at, 10*time.Second)
		assert.Equal(t, provisioning.CredentialSecond, dev.Status().Credential)
		stop()
	})
}

func TestAllCredentialsTogetherAreOneFailureAndOneLine(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		r.bothKeys()
		stop := r.run(r.twoKeys())
		r.await(0, time.Minute)
		stop()
		d, _ := r.a.Get(rigID)
		d.PrimaryKey = base64.StdEncoding.EncodeToString([]byte("unknown-key-0123456789-unknown-k"))
		d.SecondaryKey = d.PrimaryKey
		require.NoError(t, r.a.Put(d))
		r.reset()
		r.dps.Inject(dpstest.Fault{Status: 503, Times: always})
		dev := r.twoKeys()
		var why error // DPS is asked
		dev.Trace = &provisioning.Trace{Request: func(q provisioning.DPSRequest) {
			why = cmp.Or(why, q.Err)
		}}
		stop = r.run(dev)
		time.Sleep(3 * time.Second)
		s := dev.Status()
		assert.Equal(t, 1, s.HubAttempts)
		assert.Equal(t, hubconn.Rejected, hubconn.ClassOf(why))
		assert.NotContains(t, why.Error(), "\n")
		assert.Contains(t, why.Error(), "attestation: ")
		assert.Contains(t, why.Error(), "second attestation: ")
		assert.NotContains(t, why.Error(), rigKey)
		assert.NotContains(t, why.Error(), secondKey)
		assert.Len(t, r.a.Attempts(), 2)
		stop()
	})
}

func TestAWrongClockIsCorrectedBeforeTheSecondKeyIsShown(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		r.bothKeys()
		dev := r.twoKeys()
		stoppedClock(dev, time.Now().Add(-2*time.Hour))
		stop := r.run(dev)
		r.await(0, time.Minute)
		assert.Equal(t, provisioning.CredentialAttestation, dev.Status().Credential)
		assert.Equal(t, 2, r.asked(dpstest.Register), "once by the wrong clock, once by the right")
		stop()
	})
}

func TestASecondAttestationOfAnotherDeviceIsRefusedInOneLine(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.device()
		dev.SecondAttestation = dps.SymmetricKey{ID: "another", Key: secondKey}
		err := dev.Run(t.Context(), r.session)
		require.ErrorContains(t, err, "secondattestation: registration id")
		dev = r.device()
		dev.SecondAttestation = dps.SymmetricKey{ID: rigID, Key: "?"}
		err = dev.Run(t.Context(), r.session)
		require.ErrorContains(t, err, "secondattestation: ")
	})
}

// agent is a source of certificates, as an agent on the device would be.
type agent struct {
	dps.X509
	mu      sync.Mutex
	current dps.X509
	changed chan struct{}
}

func newAgent(pair tls.Certificate) *agent {
	return &agent{
		X509: dps.X509{KeyPair: pair}, current: dps.X509{KeyPair: pair},
		changed: make(chan struct{}),
	}
}

func (a *agent) Current(context.Context) (dps.Attestation, error) { return a.now(), nil }

func (a *agent) now() dps.X509 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}

func (a *agent) Changed() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.changed
}

func (a *agent) set(pair tls.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.current = dps.X509{KeyPair: pair}
	close(a.changed)
	a.changed = make(chan struct{})
}

func (a *agent) Certificate(ctx context.Context) (*tls.Certificate, error) {
	return a.now().Certificate(ctx)
}
func (a *agent) Fingerprint(ctx context.Context) (string, error) { return a.now().Fingerprint(ctx) }
func (a *agent) Seal(ctx context.Context, data []byte) ([]byte, error) {
	return a.now().Seal(ctx, data)
}
func (a *agent) Verify(ctx context.Context, data, seal []byte) error {
	return a.now().Verify(ctx, data, seal)
}

// certificates enrolls the device with certificates of its own.
func (r *rig) certificates(pairs ...tls.Certificate) {
	r.t.Helper()
	var leaves [2]*x509.Certificate
	for i, pair := range pairs {
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		require.NoError(r.t, err)
		leaves[i] = leaf
	}
	r.enrollWith(hubA, func(e *dpstest.IndividualEnrollment) {
		e.Attestation = dpstest.ClientCertificates(leaves[0], leaves[1])
	})
}

func TestACertificateThatAnAgentRenewsIsToldToDPSAndThenUsedWithoutEndingTheSession(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		first, second := r.network.CA().Device(rigID), r.network.CA().Device(rigID)
		r.certificates(first, second)
		source := newAgent(first)
		dev := r.device()
		dev.Attestation = source
		stop := r.run(dev)
		r.await(0, time.Minute)
		time.Sleep(time.Minute)
		r.reset()
		r.certificates(second)
		source.set(second)
		time.Sleep(time.Minute)
		assert.Equal(t, 1, r.asked(dpstest.Register))
		require.Len(t, r.a.Attempts(), 1)
		assert.True(t, r.a.Attempts()[0].Accepted())
		assert.Empty(t, r.seen(), "the session goes on")
		stop()

		r.reset()
		dev = r.device()
		dev.Attestation = source
		stop = r.run(dev)
		r.await(0, time.Minute)
		assert.Zero(t, r.asked(), "what is stored is the new certificate's")
		stop()
	})
}

func TestAChangedCertificateThatDPSCannotBeToldLeavesTheConnectionAlone(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		first, second := r.network.CA().Device(rigID), r.network.CA().Device(rigID)
		r.certificates(first)
		source := newAgent(first)
		dev := r.device()
		dev.Attestation = source
		stop := r.run(dev)
		r.await(0, time.Minute)
		time.Sleep(time.Minute)
		r.network.SetFault(r.dps.Endpoint(), simnet.Refused)
		r.reset()
		source.set(second)
		time.Sleep(time.Hour)
		assert.Empty(t, r.seen(), "the session goes on")

		require.True(t, r.a.Disconnect(rigID))
		r.await(0, 10*time.Minute)
		assert.Equal(t, provisioning.CredentialFormer, dev.Status().Credential,
			"the hub still knows the one before")

		r.certificates(second)
		r.network.SetFault(r.dps.Endpoint(), simnet.None)
		time.Sleep(3 * time.Hour)
		assert.Equal(t, provisioning.CredentialAttestation, dev.Status().Credential)
		assert.Len(t, r.seen(), 1, "the session goes on")
		stop()
	})
}

func writePair(t *testing.T, dir string, pair tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key.pem"),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), chain, 0o644))
}

func TestCertificateFilesThatChangeAreTakenUpWhileTheDeviceRuns(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dir := t.TempDir()
		first, second := r.network.CA().Device(rigID), r.network.CA().Device(rigID)
		r.certificates(first, second)
		writePair(t, dir, first)
		dev := r.device()
		log := logged(dev)
		dev.Attestation = &dps.X509Files{
			CertificateFile: filepath.Join(dir, "cert.pem"),
			KeyFile:         filepath.Join(dir, "key.pem"),
		}
		stop := r.run(dev)
		r.await(0, time.Minute)
		time.Sleep(time.Minute)
		r.reset()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half"), 0o644))
		time.Sleep(10 * time.Minute)
		assert.Zero(t, r.asked(), "the former pair stays in force")
		assert.Equal(t, 1, strings.Count(log.String(), "new attestation not used"))
		assert.Contains(t, log.String(), "cert.pem")
		require.True(t, r.a.Disconnect(rigID))
		r.await(0, 10*time.Minute)
		r.reset()
		writePair(t, dir, second)
		time.Sleep(5 * time.Minute)
		assert.Equal(t, 1, r.asked(dpstest.Register))
		assert.Len(t, r.a.Attempts(), 1)
		assert.Empty(t, r.seen(), "the session goes on")
		stop()
	})
}

func TestAHubThatDoesNotKnowTheIssuerYetIsShownTheCertificateBefore(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		first := dev.Status().Certificate
		r.a.SetCredentialSync(false)
		require.True(t, r.dps.Issuer().Revoke("fleet", "ica"))
		r.reset()
		time.Sleep(time.Until(first.ValidUntil.Add(-time.Hour)))
		s := dev.Status()
		assert.True(t, s.Certificate.ValidUntil.After(first.ValidUntil), "another was issued")
		assert.False(t, s.Certificate.Accepted)
		require.Error(t, s.Certificate.Err)
		assert.Empty(t, r.seen()[min(1, len(r.seen())):], "one reconnect at most")
		assert.Equal(t, provisioning.StateConnected, s.State)
		assert.LessOrEqual(t, r.asked(dpstest.Register), 1)

		r.a.SyncCredentials()
		r.a.Disconnect(rigID)
		time.Sleep(10 * time.Minute)
		s = dev.Status()
		assert.Equal(t, provisioning.StateConnected, s.State)
		assert.Equal(t, provisioning.CredentialIssued, s.Credential)
		assert.True(t, s.Certificate.Accepted)
		stop()
	})
}

func TestABadChainIsOneLineAndLeavesTheCredentialThatWorks(t *testing.T) {
	for fault, says := range map[hubtest.ChainFault]string{
		hubtest.ChainOtherKey: "key", hubtest.ChainExpired: "expired",
		hubtest.ChainNotYetValid: "not valid before", hubtest.ChainGarbage: "certificate",
		hubtest.ChainNotBase64: "base64", hubtest.ChainLong: "7 certificates",
		hubtest.ChainHuge: "time",
	} {
		t.Run(string(fault), func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				dev, stop := r.certified(certLife)
				first := dev.Status().Certificate
				r.reset()
				r.a.Inject(hubtest.Fault{On: hubtest.IssueEnd, Chain: fault})
				r.dps.Inject(dpstest.Fault{Chain: fault})
				require.Error(t, dev.Renew(t.Context()))
				_, err := dev.Reprovision(t.Context(), "test")
				if fault != hubtest.ChainHuge {
					require.NoError(t, err, "the assignment is worth having all the same")
					assert.Empty(t, r.seen(), "the session goes on")
				}
				s := dev.Status()
				assert.Equal(t, first.ValidUntil, s.Certificate.ValidUntil, "the old one is kept")
				require.Error(t, s.Certificate.Err)
				assert.Contains(t, s.Certificate.Err.Error(), says)
				assert.NotContains(t, s.Certificate.Err.Error(), "\n")
				assert.Less(t, len(s.Certificate.Err.Error()), 400)
				time.Sleep(certLife)
				assert.True(t, dev.Status().Certificate.ValidUntil.After(first.ValidUntil))
				assert.Equal(t, provisioning.StateConnected, dev.Status().State)
				stop()
			})
		})
	}
}
