// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	certLife = 10 * 24 * time.Hour
)

// issuingWirings are those over which certificates are issued and renewed.
var issuingWirings = []wiring{{}, {dps: 2}, {ws: true}, {x509: true}, {auto: true}}

// issues gives the device's enrollment a certificate policy.
func (r *rig) issues(validity time.Duration) {
	r.t.Helper()
	require.NoError(r.t, r.dps.Issuer().SetPolicy(hubtest.CertificatePolicy{
		Namespace: "fleet", Authority: "ica", Name: "p10", Validity: validity,
	}))
	r.enrollWith(hubA, func(e *dpstest.IndividualEnrollment) {
		e.NamespaceName, e.CertificateAuthorityName, e.CertificatePolicyName = "fleet", "ica", "p10"
	})
}

func (r *rig) issuingDevice() *provisioning.Device {
	dev := r.device()
	dev.Issuance = &provisioning.Issuance{ReportValidity: true}
	return dev
}

// certified is a device that runs, and is connected with the certificate that it was issued.
func (r *rig) certified(validity time.Duration) (dev *provisioning.Device, stop func()) {
	r.t.Helper()
	r.issues(validity)
	dev = r.issuingDevice()
	stop = r.run(dev)
	r.await(0, time.Minute)
	return dev, stop
}

func TestACertificateIsIssuedAtRegistrationAndUsedAtTheHub(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		s := dev.Status()
		assert.Equal(t, provisioning.CredentialIssued, s.Credential)
		assert.True(t, s.Certificate.Accepted)
		assert.InDelta(t, certLife, time.Until(s.Certificate.ValidUntil), float64(time.Minute))
		assert.NoError(t, s.Certificate.Err)
		life := s.Certificate.ValidUntil.Sub(s.Certificate.ValidFrom)
		part := s.Certificate.NextRenewal.Sub(s.Certificate.ValidFrom).Seconds() / life.Seconds()
		assert.GreaterOrEqual(t, part, 0.60)
		assert.LessOrEqual(t, part, 0.80)
		require.Len(t, r.a.Attempts(), 1, "the onboarding credential is not shown to the hub")
		twin, _ := r.a.Twin(rigID)
		until := s.Certificate.ValidUntil.UTC().Format(time.RFC3339)
		assert.Contains(t, fmt.Sprint(twin.Reported), until)
		stop()

		r.reset()
		stop = r.run(r.issuingDevice())
		r.await(0, time.Minute)
		assert.Zero(t, r.asked(), "a warm boot asks DPS for nothing")
		require.Len(t, r.a.Attempts(), 1)
		stop()
	})
}

func TestACertificateIsRenewedOverTheHubWithoutEndingTheSession(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		first := dev.Status().Certificate
		r.reset()
		time.Sleep(time.Until(first.ValidUntil.Add(-certLife / 10)))
		second := dev.Status().Certificate
		assert.True(t, second.ValidUntil.After(first.ValidUntil), "it was renewed")
		assert.True(t, second.Accepted)
		assert.Zero(t, r.asked(), "DPS is asked for nothing")
		assert.Empty(t, r.seen(), "the session goes on")
		time.Sleep(3 * certLife)
		assert.Zero(t, r.asked(), "DPS is asked for nothing")
		assert.Empty(t, r.seen(), "the session goes on")
		stop()
	})
}

func TestACertificateThatTheHubDoesNotRenewIsRenewedByARegistration(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		first := dev.Status().Certificate
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Times: -1, Code: 500001})
		time.Sleep(time.Until(first.ValidUntil.Add(-time.Minute)))
		second := dev.Status().Certificate
		assert.True(t, second.ValidUntil.After(first.ValidUntil), "it was renewed")
		assert.Equal(t, 1, r.asked(dpstest.Register))
		assert.Empty(t, r.seen(), "the session goes on")
		stop()
	})
}

func TestACertificateThatExpiredWhileTheDeviceWasOffLeadsToDPSAtOnce(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		_, stop := r.certified(certLife)
		stop()
		time.Sleep(2 * certLife)
		r.reset()
		dev := r.issuingDevice()
		stop = r.run(dev)
		r.await(0, time.Minute)
		assert.Equal(t, 1, r.asked(dpstest.Register))
		require.Len(t, r.a.Attempts(), 1, "the hub is not tried before")
		assert.True(t, r.a.Attempts()[0].Accepted())
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		stop()
	})
}

func TestAnEnrollmentWithoutAPolicyIsSaidPlainlyAndTheDeviceGoesOn(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev := r.issuingDevice()
		stop := r.run(dev)
		r.await(0, time.Minute)
		s := dev.Status()
		assert.Equal(t, provisioning.CredentialAttestation, s.Credential)
		require.Error(t, s.Certificate.Err)
		assert.Contains(t, s.Certificate.Err.Error(), "certificate policy")
		r.reset()
		time.Sleep(5 * 24 * time.Hour)
		assert.Zero(t, r.asked())
		stop()

		r.reset()
		stop = r.run(r.issuingDevice())
		r.await(0, time.Minute)
		time.Sleep(24 * time.Hour)
		assert.Zero(t, r.asked(), "and is remembered")
		stop()
	})
}

func TestARevokedDeviceRegistersAnew(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		first := dev.Status().Certificate
		r.reset()
		r.a.RevokeCredentials(rigID)
		r.a.Disconnect(rigID)
		r.await(0, 10*time.Minute)
		assert.Equal(t, 1, r.asked(dpstest.Register))
		assert.NotEqual(t, first.ValidUntil, dev.Status().Certificate.ValidUntil)
		stop()
	})
}

func TestRenewByHandRenewsAtOnce(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		r.reset()
		for range 3 {
			was := dev.Status().Certificate.ValidUntil
			time.Sleep(2 * time.Second)
			require.NoError(t, dev.Renew(t.Context()))
			assert.True(t, dev.Status().Certificate.ValidUntil.After(was))
		}
		assert.Zero(t, r.asked())
		assert.Empty(t, r.seen())
		stop()

		was := dev.Status().Certificate.ValidUntil
		time.Sleep(2 * time.Second)
		require.NoError(t, dev.Renew(t.Context()), "without a connection, by a registration")
		assert.Equal(t, 1, r.asked(dpstest.Register))
		assert.True(t, dev.Status().Certificate.ValidUntil.After(was))
	})
}

func TestRenewWithoutIssuanceIsAnErrorThatNamesTheField(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		err := r.device().Renew(t.Context())
		require.Error(t, err)
		assert.True(t, strings.Contains(err.Error(), "issuance"), err)
	})
}

func TestRenewalsThatFellDueWhileAFleetWasOffAreSpread(t *testing.T) {
	var times []time.Duration
	for range 12 {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, wiring{})
			defer func() { require.NoError(t, r.network.Close()) }()
			_, stop := r.certified(certLife)
			stop()
			time.Sleep(certLife * 82 / 100)
			r.reset()
			dev := r.issuingDevice()
			stop = r.run(dev)
			for dev.Status().Renewals == 0 {
				require.Less(t, r.elapsed(), 2*time.Minute)
				time.Sleep(time.Second)
			}
			times = append(times, r.elapsed())
			stop()
		})
	}
	slices.Sort(times)
	assert.Greater(t, times[len(times)-1]-times[0], 15*time.Second, "%v", times)
	assert.LessOrEqual(t, times[len(times)-1], 65*time.Second)
}
