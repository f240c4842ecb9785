// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/entry"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// unreadableOnce is a store of which the certificates cannot be read the first time.
type unreadableOnce struct {
	cache.WaitStore
	failed atomic.Bool
}

func (u *unreadableOnce) Get(ctx context.Context, key string) ([]byte, error) {
	if strings.HasSuffix(key, "~issued") && !u.failed.Swap(true) {
		return nil, errors.New("input/output error")
	}
	return u.WaitStore.Get(ctx, key)
}

func TestCertificatesThatCouldNotBeReadAtOnceAreReadLater(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		_, stop := r.certified(certLife)
		stop()
		r.reset()
		r.network.SetFault(r.dps.Endpoint(), simnet.Refused)
		dev := r.issuingDevice()
		dev.Store = &unreadableOnce{WaitStore: r.store.(cache.WaitStore)}
		stop = r.run(dev)
		r.await(0, 10*time.Minute)
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		assert.False(t, dev.Status().Certificate.ValidUntil.IsZero())
		stop()
	})
}

func TestHubAndDPSMayIssueForOneKeyAtOnce(t *testing.T) {
	late := map[string]time.Duration{"hub first": 0, "dps first": 40 * time.Second}
	for name, late := range late {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				dev, stop := r.certified(certLife)
				first := dev.Status().Certificate
				time.Sleep(time.Minute)
				r.reset()
				slow := dpstest.Fault{On: dpstest.Register, Delay: 20 * time.Second, Perform: true}
				r.dps.Inject(slow)
				r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Delay: 10*time.Second + late})
				var both sync.WaitGroup
				both.Go(func() { assert.NoError(t, dev.Renew(t.Context())) })
				time.Sleep(time.Second)
				both.Go(func() {
					_, err := dev.Reprovision(t.Context(), "test")
					assert.NoError(t, err)
				})
				both.Wait()
				time.Sleep(2 * time.Minute)
				s := dev.Status()
				assert.NoError(t, s.Certificate.Err)
				assert.True(t, s.Certificate.Accepted)
				assert.True(t, s.Certificate.ValidUntil.After(first.ValidUntil))
				assert.Equal(t, provisioning.CredentialIssued, s.Credential)
				assert.Empty(t, r.seen(), "the session goes on")
				asked := r.asked(dpstest.Register)
				time.Sleep(certLife / 2)
				assert.Equal(t, asked, r.asked(dpstest.Register))
				stop()
				r.reset()
				stop = r.run(r.issuingDevice())
				r.await(0, time.Minute)
				assert.Zero(t, r.asked())
				assert.Len(t, r.a.Attempts(), 1)
				stop()
			})
		})
	}
}

func TestTheCertificateThatTheHubKnowsStaysThroughTwoChanges(t *testing.T) {
	each(t, keyWirings, func(t *testing.T, r *rig) {
		ca := r.network.CA()
		first, second, third := ca.Device(rigID), ca.Device(rigID), ca.Device(rigID)
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
		source.set(third)
		time.Sleep(time.Hour)
		assert.Empty(t, r.seen(), "the session goes on")
		require.True(t, r.a.Disconnect(rigID))
		r.await(0, 10*time.Minute)
		assert.Equal(t, provisioning.CredentialFormer, dev.Status().Credential)

		r.certificates(third)
		r.network.SetFault(r.dps.Endpoint(), simnet.None)
		time.Sleep(3 * time.Hour)
		assert.Equal(t, provisioning.CredentialAttestation, dev.Status().Credential)
		stop()
	})
}

func TestASlowClockDoesNotCostTheCertificate(t *testing.T) {
	each(t, []wiring{{dps: dps.MQTT}, {dps: dps.MQTT, x509: true}, {}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		dev := r.issuingDevice()
		stoppedClock(dev, time.Now().Add(-20*time.Minute))
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		time.Sleep(24 * time.Hour)
		s := dev.Status()
		t.Log(s.Certificate, r.asked(dpstest.Register), s.ClockChecks, s.Renewals)
		assert.Equal(t, provisioning.CredentialIssued, s.Credential)
		assert.LessOrEqual(t, r.asked(dpstest.Register), 3)
		stop()
	})
}

// Nobody tells the time to a device whose port 443 is closed for good. Its hub takes nothing but
// the certificate, and judges that by a clock of its own.
func TestACertificateIsTakenWhereNobodyTellsTheTime(t *testing.T) {
	for name, off := range map[string]time.Duration{
		"slow": -20 * time.Minute, "fast": 15 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{dps: dps.MQTT, x509: true}, {auto: true, x509: true}},
				func(t *testing.T, r *rig) {
					r.issues(certLife)
					dev := r.issuingDevice()
					stoppedClock(dev, time.Now().Add(off))
					closePort443(dev, false)
					stop := r.run(dev)
					r.await(0, time.Hour)
					time.Sleep(2 * certLife)
					s := dev.Status()
					assert.Equal(t, provisioning.StateConnected, s.State, "%+v", s)
					assert.Equal(t, provisioning.CredentialIssued, s.Credential)
					assert.LessOrEqual(t, s.Renewals, 5)
					assert.LessOrEqual(t, r.asked(dpstest.Register), 3)
					stop()
				})
		})
	}
}

func TestAFastClockDoesNotMakeACertificateExpire(t *testing.T) {
	each(t, []wiring{{}, {dps: dps.MQTT}, {x509: true}, {auto: true}}, func(t *testing.T, r *rig) {
		_, stop := r.certified(certLife)
		stop()
		r.reset()
		dev := r.issuingDevice()
		stoppedClock(dev, time.Now().Add(20*24*time.Hour))
		stop = r.run(dev)
		r.await(0, 10*time.Minute)
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		time.Sleep(time.Hour)
		assert.Zero(t, r.asked(dpstest.Register))
		stop()
	})
}

func TestSwappedFilesAreNotTakenForEachOther(t *testing.T) {
	each(t, []wiring{{}, {x509: true}}, func(t *testing.T, r *rig) {
		_, stop := r.certified(certLife)
		stop()
		ctx := t.Context()
		e, err := r.store.Get(ctx, rigID)
		require.NoError(t, err)
		ring, err := r.store.Get(ctx, rigID+"~issued")
		require.NoError(t, err)
		require.NoError(t, r.store.Put(ctx, rigID, ring))
		require.NoError(t, r.store.Put(ctx, rigID+"~issued", e))
		seen, err := r.issuingDevice().Remembered(ctx)
		require.NoError(t, err)
		assert.NotEmpty(t, seen.Problem)
		assert.Error(t, seen.Certificate.Err)
		assert.Nil(t, seen.Confirmed)
		r.reset()
		stop = r.run(r.issuingDevice())
		r.await(0, 15*time.Minute)
		assert.LessOrEqual(t, r.asked(dpstest.Register), 1)
		stop()
	})
}

// stubborn is a store that takes no certificates for a while.
type stubborn struct {
	cache.WaitStore
	full atomic.Bool
}

func (s *stubborn) Put(ctx context.Context, key string, data []byte) error {
	if s.full.Load() && strings.HasSuffix(key, "~issued") {
		return errFull
	}
	return s.WaitStore.Put(ctx, key, data)
}

func TestCertificatesThatCouldNotBeStoredAreStoredLater(t *testing.T) {
	each(t, issuingWirings, func(t *testing.T, r *rig) {
		r.issues(certLife)
		store := &stubborn{WaitStore: r.store.(cache.WaitStore)}
		dev := r.issuingDevice()
		dev.Store = store
		stop := r.run(dev)
		r.await(0, time.Minute)
		store.full.Store(true)
		time.Sleep(time.Minute)
		require.NoError(t, dev.Renew(t.Context()))
		time.Sleep(time.Minute)
		store.full.Store(false)
		time.Sleep(2 * time.Hour)
		seen, err := r.issuingDevice().Remembered(t.Context()) // as after a power cut
		require.NoError(t, err)
		assert.Equal(t, dev.Status().Certificate.ValidUntil, seen.Certificate.ValidUntil)
		assert.True(t, seen.Certificate.Accepted)
		stop()
	})
}

func TestACertificateThatIsNewGoesBeforeWhatWasAcceptedInThePlaceOfAnOlderOne(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		first := dev.Status().Certificate
		stop()
		// The newest is refused, and the one before goes on.
		dev = r.issuingDevice()
		r.a.SetCredentialSync(false)
		require.True(t, r.dps.Issuer().Revoke("fleet", "ica"))
		stop = r.run(dev)
		r.await(1, time.Minute)
		time.Sleep(time.Minute)
		require.Error(t, dev.Renew(t.Context()))
		r.a.Disconnect(rigID)
		time.Sleep(5 * time.Minute)
		t.Log(dev.Status().Credential, dev.Status().CredentialCause)
		require.Equal(t, provisioning.CredentialEarlier, dev.Status().Credential)
		// The device is away, and registers for another, which the hub knows.
		r.network.SetFault(hubA, simnet.Refused)
		r.network.Cut(hubA)
		time.Sleep(time.Minute)
		r.a.SyncCredentials()
		_, err := dev.Reprovision(t.Context(), "test")
		require.NoError(t, err)
		r.reset()
		r.network.SetFault(hubA, simnet.None)
		r.await(0, 30*time.Minute)
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		assert.True(t, dev.Status().Certificate.ValidUntil.After(first.ValidUntil))
		assert.Len(t, r.a.Attempts(), 1)
		stop()
	})
}

func TestASwapThatALostLinkEndsIsNoProblemOnceTheHubTakesTheCertificate(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		time.Sleep(time.Minute)
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
		require.Error(t, dev.Renew(t.Context()), "the hub has not taken it")
		require.Error(t, dev.Status().Certificate.Err)
		r.a.Disconnect(rigID)
		r.await(0, 5*time.Minute)
		time.Sleep(time.Minute)
		s := dev.Status()
		assert.True(t, s.Certificate.Accepted)
		assert.NoError(t, s.Certificate.Err)
		stop()
	})
}

func TestAnIssuedCertificateServesADeviceThatOnlySends(t *testing.T) {
	each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		refused := 0
		for day := range 40 {
			dev := r.issuingDevice()
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			err := dev.Send(ctx, hubconn.Message{Body: []byte("x")})
			cancel()
			if err != nil {
				refused++
				t.Log(day, err)
			}
			time.Sleep(24 * time.Hour)
		}
		assert.Zero(t, refused)
		t.Log("registrations", r.asked(dpstest.Register))
		assert.LessOrEqual(t, r.asked(dpstest.Register), 5)
	})
}

func TestAStoreThatHangsDoesNotKeepACertificateFromBeingRenewed(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		store := &stuck{WaitStore: r.store.(cache.WaitStore), free: make(chan struct{})}
		dev := r.issuingDevice()
		dev.Store = store
		stop := r.run(dev)
		r.await(0, time.Minute)
		store.hangs.Store(true)
		time.Sleep(time.Minute)
		was := dev.Status().Certificate
		require.NoError(t, dev.Renew(t.Context()))
		assert.True(t, dev.Status().Certificate.ValidUntil.After(was.ValidUntil))
		r.a.Disconnect(rigID)
		r.await(1, 5*time.Minute)
		close(store.free)
		store.hangs.Store(false)
		stop()
	})
}

type stuck struct {
	cache.WaitStore
	hangs atomic.Bool
	free  chan struct{}
}

func (s *stuck) Put(ctx context.Context, key string, data []byte) error {
	if s.hangs.Load() {
		<-s.free
	}
	return s.WaitStore.Put(ctx, key, data)
}

func TestAHubThatAsksToBeLeftAloneIsNotAskedForACertificateMeanwhile(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		r.a.Inject(hubtest.Fault{
			On: hubtest.IssueStart, Code: 429002, RetryAfter: "10800", Times: -1,
		})
		time.Sleep(time.Until(dev.Status().Certificate.NextRenewal) + time.Minute)
		require.Equal(t, 1, dev.Status().Renewals)
		time.Sleep(170 * time.Minute)
		assert.Equal(t, 1, dev.Status().Renewals)
		time.Sleep(30 * time.Minute)
		assert.Equal(t, 2, dev.Status().Renewals)
		stop()
	})
}

// Neither way gives a certificate, for as long as the device runs and through a restart every 25
// minutes: it goes on trying, and no two attempts are less than ten minutes apart.
func TestAttemptsAtARenewalAreTenMinutesApartThroughRestarts(t *testing.T) {
	each(t, []wiring{{}, {auto: true}}, func(t *testing.T, r *rig) {
		_, stop := r.certified(6 * time.Hour)
		stop()
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Code: 503001, Times: -1})
		r.dps.Inject(dpstest.Fault{Chain: hubtest.ChainGarbage, Times: -1})
		var at []time.Time
		var mu sync.Mutex
		for range 6 * 60 / 25 {
			dev := r.issuingDevice()
			dev.Trace = &provisioning.Trace{Request: func(q provisioning.DPSRequest) {
				mu.Lock()
				defer mu.Unlock()
				if q.Kind == "register" {
					at = append(at, time.Now())
				}
			}}
			r.life(dev, 25*time.Minute)
		}
		for _, o := range r.a.Operations() {
			if o.On == hubtest.IssueStart {
				at = append(at, o.Time)
			}
		}
		slices.SortFunc(at, time.Time.Compare)
		require.Greater(t, len(at), 3, "it goes on trying")
		for i := range at[1:] {
			assert.GreaterOrEqual(t, at[i+1].Sub(at[i]), 10*time.Minute-10*time.Second, "%v", at)
		}
	})
}

// Stored certificates are those of the device that has sealed them, and as it has sealed them.
func TestStoredCertificatesWithoutTheDevicesSealAreNobodys(t *testing.T) {
	each(t, []wiring{{}, {x509: true}}, func(t *testing.T, r *rig) {
		dev, stop := r.certified(certLife)
		stop()
		key := rigID + "~issued"
		kept, err := r.store.Get(t.Context(), key)
		require.NoError(t, err)
		refuses := func(dev *provisioning.Device, what string) {
			t.Helper()
			got, err := dev.Remembered(t.Context())
			require.NoError(t, err)
			assert.Equal(t, provisioning.CredentialAttestation, got.Credential, what)
			assert.Zero(t, got.Certificate.ValidUntil, what)
			assert.ErrorContains(t, got.Certificate.Err, "seal", what)
		}
		got, err := dev.Remembered(t.Context())
		require.NoError(t, err)
		require.Equal(t, provisioning.CredentialIssued, got.Credential)

		body, seal, err := entry.Unframe(kept)
		require.NoError(t, err)
		at := len(body) - len(body)/3 // in the text of a chain, where that can be read
		changed := slices.Clone(body)
		changed[at] = 'A' + (changed[at]+1)%26
		require.NoError(t, r.store.Put(t.Context(), key, entry.Frame(changed, seal)))
		refuses(r.issuingDevice(), "changed by somebody")

		require.NoError(t, r.store.Put(t.Context(), key, kept))
		other := r.issuingDevice()
		other.IDScope = "0ne0000FFFF"
		refuses(other, "of another scope")
		other = r.issuingDevice()
		other.Endpoint = "elsewhere.azure-devices-provisioning.net"
		refuses(other, "of another endpoint")
		r.wiring.x509 = !r.wiring.x509
		r.enroll(hubA)
		refuses(r.issuingDevice(), "of another attestation")
	})
}

// When DPS has issued a chain that is no good, or none although the device has one, the next comes
// after a while by either way: what is wrong there is not put right within minutes.
func TestAfterARegistrationInVainNobodyIsAskedForACertificateForAWhile(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(r *rig)
		rest  time.Duration
	}{
		"no good": {rest: time.Hour, spoil: func(r *rig) {
			r.dps.Inject(dpstest.Fault{Chain: hubtest.ChainGarbage, Times: -1})
		}},
		"none": {rest: 12 * time.Hour, spoil: func(r *rig) { r.enroll(hubA) }},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				dev, stop := r.certified(certLife)
				r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Code: 503001, Times: -1})
				c.spoil(r)
				r.reset()
				for r.asked(dpstest.Register) == 0 {
					require.Less(t, r.elapsed(), certLife)
					time.Sleep(time.Minute)
				}
				time.Sleep(time.Minute) // for the answer
				asked := dev.Status().Renewals
				time.Sleep(c.rest - 5*time.Minute)
				assert.Equal(t, asked, dev.Status().Renewals)
				assert.Equal(t, 1, r.asked(dpstest.Register))
				stop()
			})
		})
	}
}
