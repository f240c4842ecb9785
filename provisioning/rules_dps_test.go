// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// Row by row: what DPS's answer calls for.

func TestAnotherHubIsACandidateUntilItAccepts(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		// DPS moves the device to a hub that is down; the old one takes it back after a while.
		r.network.SetFault(hubB, simnet.Refused)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 1})
		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""), IoTHubs: []string{hubB},
			AllocationPolicy: dpstest.PolicyStatic,
		}))
		old, _ := r.a.Get(rigID)
		dev := r.device()
		stop := r.run(dev)
		for r.network.Dials(hubB) == 0 {
			time.Sleep(time.Second)
		}
		got, err := dev.Remembered(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, got.Confirmed.Hub, "the old one is kept")
		require.Equal(t, hubB, got.Candidate.Hub, "the new one is remembered at once")

		require.NoError(t, r.a.Put(old)) // the old hub still knows the device
		s := r.await(0, time.Hour)
		require.Equal(t, hubA, s.hub, "the old one is tried in turn")
		r.network.SetFault(hubB, simnet.None)
		time.Sleep(6 * time.Minute) // longer than the new one waits for its next try
		require.Equal(t, 1, len(r.seen()), "the device stays where it is accepted")
		r.a.Disconnect(rigID)
		s = r.await(1, time.Hour)
		require.Equal(t, hubB, s.hub)
		got, err = dev.Remembered(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubB, got.Confirmed.Hub, "confirmed when connected")
		require.Nil(t, got.Candidate)
		stop()
	})
}

func TestACandidateSurvivesARestart(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubB, simnet.Refused)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		dev := r.device()
		stop := r.run(dev)
		for r.network.Dials(hubB) == 0 {
			time.Sleep(time.Second)
		}
		stop()
		r.reset()
		r.network.SetFault(hubB, simnet.None)
		stop = r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Zero(t, r.asked())
	})
}

func TestTheSameHubAfterARejectionIsTriedAgainThenDPSWithGrowingGaps(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}, wiring{x509: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		stop := r.run(r.device())
		time.Sleep(6 * time.Hour)
		stop()
		var at []time.Duration
		for _, q := range r.dps.Requests() {
			if q.Op == dpstest.Register {
				at = append(at, q.Time.Sub(r.start))
			}
		}
		require.GreaterOrEqual(t, len(at), 7)
		require.Less(t, at[0], time.Second)
		// The gap begins when the hub has turned the device away again, 5 to 10 s (and later up to
		// 5 min) after DPS's answer.
		for i, gap := range []time.Duration{
			time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour, time.Hour,
		} {
			between(t, gap*8/10, gap*12/10+5*time.Minute, at[i+1]-at[i], "gap %d", i)
		}
		require.Zero(t, r.asked(dpstest.Lookup))
	})
}

func TestAHubThatLagsBehindDPSIsNotAskedAboutAgain(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.b.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 2})
		stop := r.run(r.device())
		s := r.await(0, 2*time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestThrottledRegistrationIsRepeatedAfterRetryAfter(t *testing.T) {
	for name, c := range map[string]struct {
		retryAfter  string
		floor, most time.Duration
	}{
		"seconds": {"300", 5 * time.Minute, 15 * time.Minute},
		"none":    {"", 5 * time.Second, 4*time.Minute + 5*time.Second},
		"zero":    {"0", time.Second, 4*time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.dps.Inject(dpstest.Fault{
					On: dpstest.Register, Status: 429, RetryAfter: c.retryAfter,
				})
				stop := r.run(r.device())
				r.await(0, time.Hour)
				stop()
				ops, at := r.requests()
				require.Equal(t, []dpstest.Op{dpstest.Register, dpstest.Register}, ops)
				between(t, c.floor, c.most+time.Second, at[1]-at[0])
			})
		})
	}
}

func TestThrottledPollPollsTheSameOperation(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Poll, Status: 429, RetryAfter: "60"})
		stop := r.run(r.device())
		r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register), "it never registers anew")
		operations := map[string]bool{}
		var polls []time.Duration
		for _, q := range r.dps.Requests() {
			if q.Op == dpstest.Poll {
				operations[q.OperationID] = true
				polls = append(polls, q.Time.Sub(r.start))
			}
		}
		require.Len(t, operations, 1)
		between(t, time.Minute, 66*time.Second, polls[1]-polls[0])
	})
}

func TestDPSFailuresBackOffFromFiveSecondsWithTheSameRequest(t *testing.T) {
	for name, fault := range map[string]dpstest.Fault{
		"500":       {On: dpstest.Register, Status: 500, Times: 5},
		"503":       {On: dpstest.Register, Status: 503, Times: 5},
		"503 asks":  {On: dpstest.Register, Status: 503, RetryAfter: "1", Times: 5},
		"no answer": {On: dpstest.Register, NoAnswer: true, Times: 5},
		"cut":       {On: dpstest.Register, Cut: true, Times: 5},
		"HTML":      {On: dpstest.Register, Status: 200, Body: []byte("<html>captive</html>"), ContentType: "text/html", Times: 5},
		"409203":    {On: dpstest.Register, Code: 409203, Times: 5},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.dps.Inject(fault)
				stop := r.run(r.device())
				r.await(0, time.Hour)
				stop()
				ops, at := r.requests()
				require.Len(t, ops, 6)
				for i, wait := range gaps(at) {
					between(
						t, 5*time.Second,
						5*time.Second+min(5*time.Second<<i, time.Hour)+62*time.Second, wait,
						"retry %d", i+1,
					)
				}
			})
		})
	}
}

func TestDPSFailureLeavesTheHubTimerAlone(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.Refused)
		r.dps.Inject(dpstest.Fault{Status: 503, Times: always})
		stop := r.run(r.device())
		time.Sleep(3 * time.Hour)
		require.NotZero(t, r.asked(dpstest.Lookup))
		dials := r.network.Dials(hubA)
		time.Sleep(time.Hour)
		require.GreaterOrEqual(
			t, r.network.Dials(hubA)-dials, 11, "the hub is tried at its cap of 5 min",
		)
		stop()
	})
}

func TestALostOperationRegistersAgain(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, DropOperation: true})
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 2, r.asked(dpstest.Register))
	})
}

func TestRefusedByDPSAsksAgainAnHourLater(t *testing.T) {
	for name, refuse := range map[string]func(r *rig){
		"401":      func(r *rig) { r.dps.Inject(dpstest.Fault{On: dpstest.Register, Code: 401002, Times: 5}) },
		"403":      func(r *rig) { r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 403, Times: 5}) },
		"404201":   func(r *rig) { r.dps.Inject(dpstest.Fault{On: dpstest.Register, Code: 404201, Times: 5}) },
		"disabled": func(r *rig) { require.NoError(r.t, r.dps.SetEnabled(rigID, false)) },
		"failed":   func(r *rig) { r.dps.Unlink(hubA); r.dps.Unlink(hubB); r.dps.Unlink(hubC) },
	} {
		t.Run(name, func(t *testing.T) {
			each(t, append(dpsWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
				refuse(r)
				dev := r.device()
				stop := r.run(dev)
				_, at := r.requests()
				for len(at) == 0 {
					time.Sleep(time.Second)
					_, at = r.requests()
				}
				time.Sleep(40 * time.Minute)
				require.Equal(t, 4, r.asked(dpstest.Register), "somebody is setting it up")
				status := dev.Status()
				require.Equal(t, provisioning.StateWaiting, status.State)
				require.Equal(t, retry.Stop, retry.Classify(status.Err))
				require.NotEmpty(t, status.Cause)
				time.Sleep(60 * time.Minute)
				require.Equal(t, 5, r.asked(dpstest.Register), "between 48 and 72 min later")
				require.NoError(t, r.dps.SetEnabled(rigID, true))
				r.dps.Link(r.a)
				r.await(0, 2*time.Hour)
				stop()
			})
		})
	}
}

func TestFirstBootIn1970CorrectsTheClockOnceAndRegisters(t *testing.T) {
	for name, offset := range map[string]time.Duration{
		"two hours slow": 2 * time.Hour, "26 years slow": 26 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.network.SetClockOffset(offset)
				stop := r.run(r.device())
				s := r.await(0, 2*time.Minute)
				stop()
				require.Equal(t, hubA, s.hub)
				require.Less(t, s.at, 20*time.Second)
				require.LessOrEqual(
					t, r.asked(dpstest.Register), 2, "the one that was refused, and its repetition",
				)
			})
		})
	}
}

func TestLookupAnswers(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.store = nil
		r.dps.Inject(dpstest.Fault{On: dpstest.Lookup, Status: 429, RetryAfter: "60"})
		r.dps.Inject(dpstest.Fault{On: dpstest.Lookup, Status: 503})
		stop := r.run(r.device())
		s := r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		ops, at := r.requests()
		require.Equal(t, []dpstest.Op{dpstest.Lookup, dpstest.Lookup, dpstest.Lookup}, ops)
		between(t, time.Minute, 5*time.Minute+time.Second, at[1]-at[0])
		between(t, 5*time.Second, 16*time.Second, at[2]-at[1])
	})
}

func TestALookupThatSaysDisabledRegistersLater(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		stop := r.run(r.device())
		time.Sleep(30 * time.Second) // before it registers again
		stop()
		r.reset()
		r.store = nil
		require.NoError(t, r.dps.SetEnabled(rigID, true))
		stop = r.run(r.device())
		s := r.await(0, 73*time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		ops, at := r.requests()
		require.Equal(t, []dpstest.Op{dpstest.Lookup, dpstest.Register}, ops)
		between(t, 48*time.Second, 72*time.Second, at[1]-at[0])
	})
}
