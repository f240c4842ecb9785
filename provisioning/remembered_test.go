// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// recalled is what the store alone says, to a device that was never run.
func (r *rig) recalled() provisioning.Remembered {
	r.t.Helper()
	got, err := r.issuingDevice().Remembered(r.t.Context())
	require.NoError(r.t, err)
	return got
}

func TestTheStoreAloneTellsTheLifeOfACertificate(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		got := r.recalled()
		assert.Equal(t, provisioning.CredentialAttestation, got.Credential)
		assert.Zero(t, got.Certificate)

		dev, stop := r.certified(certLife)
		running := dev.Status().Certificate
		stop()
		got = r.recalled()
		assert.Equal(t, provisioning.CredentialIssued, got.Credential)
		assert.Equal(t, running.ValidFrom, got.Certificate.ValidFrom)
		assert.Equal(t, running.ValidUntil, got.Certificate.ValidUntil)
		assert.True(t, got.Certificate.Accepted)
		assert.WithinDuration(t, running.NextRenewal, got.Certificate.NextRenewal, time.Second)
		assert.NoError(t, got.Certificate.Err)

		dev = r.issuingDevice()
		r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Code: 500001})
		stop = r.run(dev)
		r.await(1, time.Minute)
		require.Error(t, dev.Renew(t.Context()))
		stop()
		got = r.recalled()
		assert.Equal(t, running.ValidUntil, got.Certificate.ValidUntil)
		assert.ErrorContains(t, got.Certificate.Err, "500001")

		dev = r.issuingDevice()
		stop = r.run(dev)
		r.await(2, time.Minute)
		require.NoError(t, dev.Renew(t.Context()))
		stop()
		assert.NoError(t, r.recalled().Certificate.Err, "a renewal that works leaves no failure")
	})
}

func TestTheStoreAloneTellsWhyThereIsNoCertificate(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		stop := r.run(r.issuingDevice())
		r.await(0, time.Minute)
		stop()
		got := r.recalled()
		assert.Equal(t, provisioning.CredentialAttestation, got.Credential)
		assert.ErrorContains(t, got.Certificate.Err, "certificate policy")

		require.NoError(t, r.issuingDevice().Forget(t.Context()))
		r.issues(certLife)
		r.dps.Inject(dpstest.Fault{Chain: hubtest.ChainOtherKey, Times: -1})
		stop = r.run(r.issuingDevice())
		time.Sleep(10 * time.Second)
		stop()
		got = r.recalled()
		assert.Equal(t, provisioning.CredentialAttestation, got.Credential)
		assert.ErrorContains(t, got.Certificate.Err, "key")
	})
}

func TestStoredCertificatesThatCannotBeReadAreToldAndNotTouched(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		_, stop := r.certified(certLife)
		stop()
		data, err := r.store.Get(t.Context(), rigID+"~issued")
		require.NoError(t, err)
		data[len(data)/2] ^= 1
		require.NoError(t, r.store.Put(t.Context(), rigID+"~issued", data))
		got := r.recalled()
		assert.Equal(t, provisioning.CredentialAttestation, got.Credential)
		assert.ErrorContains(t, got.Certificate.Err, "stored certificates")
		still, err := r.store.Get(t.Context(), rigID+"~issued")
		require.NoError(t, err)
		assert.Equal(t, data, still)
	})
}

func TestTheStoreAloneTellsWhatIsWaitedFor(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		recalled := func() provisioning.Remembered {
			got, err := r.device().Remembered(t.Context())
			require.NoError(t, err)
			return got
		}
		got := recalled()
		assert.Zero(t, got.NextDPS)
		assert.Zero(t, got.DPSRetryAfter)

		r.dps.Inject(dpstest.Fault{Status: 429, RetryAfter: "3600"})
		until := time.Now().Add(time.Hour)
		stop := r.run(r.device())
		time.Sleep(time.Minute)
		running := recalled()
		stop()
		got = recalled()
		for _, told := range []provisioning.Remembered{running, got} {
			assert.WithinDuration(t, until, told.DPSRetryAfter, 2*time.Second)
			assert.False(t, told.NextDPS.Before(told.DPSRetryAfter))
			assert.Zero(t, told.NextHub)
		}
		assert.Equal(t, 1, r.dps.Count(dpstest.Register))

		time.Sleep(2 * time.Hour)
		assert.Zero(t, recalled().DPSRetryAfter, "it is over")
		stop = r.run(r.device())
		r.await(0, time.Hour)
		time.Sleep(time.Minute)
		stop()
		got = recalled()
		assert.Zero(t, got.NextDPS, "nothing is waited for")
		assert.Zero(t, got.NextHub)

		if !r.wiring.ws {
			return // MQTT has no Retry-After
		}
		r.a.Inject(hubtest.Fault{
			On: hubtest.Upgrade, Status: 429, RetryAfter: "600", ErrorCode: "ThrottlingException",
		})
		until = time.Now().Add(10 * time.Minute)
		stop = r.run(r.device())
		time.Sleep(time.Minute)
		stop()
		got = recalled()
		assert.WithinDuration(t, until, got.HubRetryAfter, 2*time.Second)
		assert.False(t, got.NextHub.Before(got.HubRetryAfter))
	})
}
