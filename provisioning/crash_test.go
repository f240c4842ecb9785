// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"encoding/base64"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// A process that is killed every few seconds, as a watchdog does, asks for nothing before the time
// that an earlier one was told.

const kills = 100

func apart(t *testing.T, least time.Duration, at []time.Duration) {
	t.Helper()
	for i, gap := range gaps(at) {
		require.GreaterOrEqual(t, gap, least, "request %d of %v", i+2, at)
	}
}

func TestACrashLoopLeavesDPSAloneForAsLongAsItAsked(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		retryAfter string
		apart      time.Duration
		kills      int
		most       int
	}{
		"429": {429, "60", time.Minute, 3 * kills, 6},
		"503": {503, "", 5 * time.Second, kills, 14},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.dps.Inject(dpstest.Fault{
					On: dpstest.Register, Status: c.status, RetryAfter: c.retryAfter, Times: always,
				})
				r.crashLoop(c.kills)
				at := r.times(dpstest.Register)
				require.Greater(t, len(at), 2)
				require.LessOrEqual(t, len(at), c.most)
				apart(t, c.apart, at)
				for i := 1; c.status == 429 && i < len(at); i++ {
					lasted := at[i-1] - at[0]
					require.GreaterOrEqual(t, at[i]-at[i-1], c.apart+lasted, "it goes on in %v", at)
				}
			})
		})
	}
}

func TestACrashLoopPollsTheOperationThatWasThrottled(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Poll, Status: 429, RetryAfter: "60", Times: 4})
		r.crashLoop(kills)
		require.Equal(t, 1, r.asked(dpstest.Register))
		at := r.times(dpstest.Poll)
		apart(t, time.Minute, at[:5])
		require.NotEmpty(t, r.seen(), "registered in the end")
	})
}

func TestACrashLoopWithADisabledEnrollmentAsksAfterTheGapsOfARefusal(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		r.crashLoop(120)
		at := r.times(dpstest.Register)
		require.Len(t, at, 3)
		between(t, 48*time.Second, 72*time.Second+6*time.Second, at[1]-at[0])
		between(t, 4*time.Minute, 6*time.Minute+6*time.Second, at[2]-at[1])
	})
}

func TestACrashLoopLeavesTheHubAloneForAsLongAsItAsked(t *testing.T) {
	for name, c := range map[string]struct {
		fault hubtest.Fault
		apart time.Duration
		most  int
	}{
		"CONNACK 3": {
			hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always}, 5 * time.Second, 14,
		},
		"429": {
			hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "90", Times: always,
				ErrorCode: "ThrottlingException",
			},
			90 * time.Second, 5,
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
				r.boot()
				r.a.Inject(c.fault)
				r.crashLoop(kills)
				at := r.attempts(r.a)
				require.Greater(t, len(at), 2)
				require.LessOrEqual(t, len(at), c.most)
				apart(t, c.apart, at)
				require.Zero(t, r.asked(), "%v", r.dps.Requests())
			})
		})
	}
}

func TestAProcessSaysWhatAnEarlierOneWasToldToWaitFor(t *testing.T) {
	each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Upgrade, Status: 429, Code: 429001, RetryAfter: "900",
			ErrorCode: "ThrottlingException",
		})
		r.life(r.device(), time.Minute)
		s := r.life(r.device(), time.Minute)
		require.Equal(t, provisioning.StateWaiting, s.State)
		require.Equal(t, "an earlier process failed at the hub: throttled", s.Cause)
		require.WithinDuration(t, r.start.Add(15*time.Minute), s.RetryAfter, time.Second)
		require.WithinDuration(t, r.start.Add(15*time.Minute), s.NextHub, 6*time.Second)
	})
}

func TestACrashLoopSparesAHubThatRejectsTheDeviceAndDPS(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		r.crashLoop(120)
		at := r.times(dpstest.Register)
		require.Len(t, at, 3, "after 0, 1 and 5 min")
		between(t, 48*time.Second, 90*time.Second, at[1]-at[0])
		between(t, 4*time.Minute, 6*time.Minute+30*time.Second, at[2]-at[1])
		// A process does not know what an earlier one was told of the time.
		require.LessOrEqual(t, r.asked(dpstest.Clock), len(at))
		require.LessOrEqual(t, len(r.attempts(r.a)), 12)
	})
}

func TestACrashLoopDialsAHubWhoseCertificateIsUnknownOnceAMinute(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetCertificate(hubA, simnet.UnknownCA)
		var dials dialLog
		r.crashLoop(kills, dials.watch(r))
		at := dials.to(hubA)
		require.Greater(t, len(at), 2)
		apart(t, time.Minute, at)
		require.Empty(t, r.a.Attempts())
	})
}

func TestACrashLoopKeepsTheMomentThatStaggerDrew(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		var drawn []time.Duration
		lives := 0
		for ; len(r.seen()) == 0; lives++ {
			require.Less(t, r.elapsed(), 10*time.Minute+20*time.Second)
			dev := r.device()
			dev.Stagger = 10 * time.Minute
			s := r.life(dev, time.Duration(2+lives%5)*time.Second)
			if r.asked() == 0 {
				drawn = append(drawn, s.NextDPS.Sub(r.start))
			}
		}
		for _, at := range drawn {
			require.InDelta(t, drawn[0].Seconds(), at.Seconds(), 1)
		}
		at := r.times(dpstest.Register)
		require.Len(t, at, 1)
		if len(drawn) > 0 {
			require.InDelta(t, drawn[0].Seconds(), at[0].Seconds(), 1)
		}
	})
}

// A kill may come at any moment of a registration.
func TestTheNextProcessPollsTheRegistrationThatWasUnderWay(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps = dpstest.New(
			r.network, dpstest.Config{AssignTime: time.Minute, RetryAfter: 20 * time.Second},
		)
		r.dps.Link(r.a, r.b, r.c)
		r.enroll(hubA)
		for len(r.seen()) == 0 {
			require.Less(t, r.elapsed(), 5*time.Minute)
			r.life(r.device(), 7*time.Second)
		}
		require.Equal(t, 1, r.asked(dpstest.Register))
		at := r.times(dpstest.Register, dpstest.Poll)
		require.Len(t, at, 4)
		apart(t, 20*time.Second, at)
		operations := map[string]bool{}
		for _, q := range r.dps.Requests() {
			if q.Op == dpstest.Poll {
				operations[q.OperationID] = true
			}
		}
		require.Len(t, operations, 1)
	})
}

func TestAWaitIsForTheCredentialThatWasToldTo(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		r.life(r.device(), 5*time.Second)
		rotated := base64.StdEncoding.EncodeToString([]byte("canary-key-rotated-0123456789-ab"))
		dev := r.device()
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: rigID, Attestation: dpstest.Keys(rotated, ""),
			IoTHubs: []string{hubA},
		}))
		dev.Attestation = dps.SymmetricKey{ID: rigID, Key: rotated}
		r.life(dev, 10*time.Second)
		require.Len(t, r.seen(), 1, "who changes the key asks at once")
	})
}
