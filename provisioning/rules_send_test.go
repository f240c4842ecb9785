// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Row by row: what the hub's answer calls for when there is no connection, only one request over
// HTTPS.

var (
	errSlept    = errors.New("the device went to sleep")
	sendWirings = []wiring{{}, {x509: true}}
	reading     = hubconn.Message{Body: []byte(`{"temperature":21.5}`), MessageID: "m-1"}
)

// wake is a device that wakes: a new process that finds the store as it was left.
func (r *rig) wake(limit time.Duration) error { return r.send(r.device(), limit, reading) }

func (r *rig) send(
	dev *provisioning.Device, limit time.Duration, messages ...hubconn.Message,
) error {
	ctx, cancel := context.WithTimeoutCause(context.Background(), limit, errSlept)
	defer cancel()
	err := dev.Send(ctx, messages...)
	if soon, ok := errors.AsType[*provisioning.TooSoonError](err); ok {
		// It goes to sleep, and has missed nothing that it could have done while awake.
		end, _ := ctx.Deadline()
		require.Greater(r.t, soon.Wait, time.Until(end))
		<-ctx.Done()
		return fmt.Errorf("%w; %w", errSlept, err)
	}
	return err
}

// warmed is a rig whose device has sent before.
func (r *rig) warmed() {
	r.t.Helper()
	require.NoError(r.t, r.wake(time.Minute))
	r.reset()
}

// posts are the times of the requests to send that a hub has answered, or not.
func (r *rig) posts(h *hubtest.Hub) (at []time.Duration) {
	for _, o := range h.Operations() {
		if o.On == hubtest.Send {
			at = append(at, o.Time.Sub(r.start))
		}
	}
	return at
}

func (r *rig) noConnection() {
	r.t.Helper()
	for _, h := range []*hubtest.Hub{r.a, r.b, r.c} {
		require.Empty(r.t, h.Attempts(), "no connection was made")
	}
}

// countingStore counts what is written.
type countingStore struct {
	cache.Store
	puts int
}

func (s *countingStore) Put(ctx context.Context, key string, data []byte) error {
	s.puts++
	return s.Store.Put(ctx, key, data)
}

func TestSendOnFirstBootRegistersAndSends(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		require.NoError(t, r.wake(time.Minute))
		got := r.a.Messages()
		require.Len(t, got, 1)
		require.Equal(t, reading.Body, got[0].Body)
		require.Equal(t, "https", got[0].Transport)
		require.Equal(t, rigID, got[0].DeviceID)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup, dpstest.Clock))
		r.noConnection()
		remembered, err := r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.NotNil(
			t, remembered.Confirmed,
			"a message that was taken confirms the hub as a connection does",
		)
		require.Nil(t, remembered.Candidate)
	})
}

func TestWakingUpAgainAsksDPSNothingAndWritesNothing(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		require.NoError(t, r.wake(time.Minute))
		r.reset()
		store := &countingStore{Store: r.store}
		for range 2 {
			dev := r.device()
			dev.Store = store
			require.NoError(t, r.send(dev, time.Minute, reading))
			require.Equal(t, provisioning.StateStopped, dev.Status().State)
			require.NoError(t, dev.Status().Err)
			time.Sleep(10 * time.Minute)
		}
		require.Zero(t, r.asked())
		require.Zero(t, store.puts)
		require.Len(t, r.posts(r.a), 2)
		require.Equal(t, 2, r.network.Dials(hubA)-1)
		require.Less(t, r.posts(r.a)[0], time.Second)
	})
}

func TestSendKeepsOneDeviceThroughManyMessages(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		dev := r.device()
		for range 5 {
			require.NoError(t, r.send(dev, time.Minute, reading))
			time.Sleep(time.Hour)
		}
		require.Len(t, r.a.Messages(), 5)
		require.Equal(t, 1, r.asked(dpstest.Register, dpstest.Lookup))
	})
}

func TestSendingToAHubThatIsThrottledWaitsForRetryAfter(t *testing.T) {
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		retryAfter  string
		code        int
		status      int
		floor, most time.Duration
	}{
		"seconds":   {"120", 429001, 429, 120 * time.Second, 125 * time.Second},
		"HTTP date": {now.Add(10 * time.Minute).Format(http.TimeFormat), 429001, 429, 9 * time.Minute, 10*time.Minute + 6*time.Second},
		"none":      {"", 429001, 429, 10 * time.Second, 15 * time.Second},
		"zero":      {"0", 429001, 429, time.Second, 10 * time.Second},
		"nonsense":  {"soon", 429001, 429, 10 * time.Second, 15 * time.Second},
		"a day":     {"86400", 429001, 429, 24 * time.Hour, 24*time.Hour + 6*time.Second},
		"quota":     {"600", 403002, 403, 600 * time.Second, 606 * time.Second},
		"no reason": {"60", 403002, 403, 60 * time.Second, 66 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, sendWirings, func(t *testing.T, r *rig) {
				r.warmed()
				r.a.Inject(hubtest.Fault{
					On: hubtest.Send, Status: c.status, ErrorCode: "ThrottlingException",
					Code: c.code, RetryAfter: c.retryAfter,
				})
				require.NoError(t, r.wake(25*time.Hour))
				at := r.posts(r.a)
				require.Len(t, at, 2)
				between(t, c.floor, c.most+time.Second, at[1])
				require.Zero(t, r.asked(), "the hub is right, the device is known")
			})
		})
	}
}

func TestASleeperThatComesBackBeforeRetryAfterLeavesTheHubAlone(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "3600",
		})
		dev := r.device()
		err := r.send(dev, time.Minute, reading)
		require.ErrorIs(t, err, errSlept)
		require.Equal(t, hubconn.Throttled, hubconn.ClassOf(err), "and why it had to wait: %v", err)
		require.ErrorIs(t, r.send(dev, 10*time.Minute, reading), errSlept)
		require.Len(t, r.posts(r.a), 1)
		require.NoError(t, r.send(dev, time.Hour, reading))
		between(t, time.Hour, time.Hour+6*time.Second, r.posts(r.a)[1])
		require.Zero(t, r.asked())
	})
}

func TestSendingToAHubInTroubleBacksOffExponentiallyFromFiveSeconds(t *testing.T) {
	faults := map[string]hubtest.Fault{}
	for _, status := range []int{500, 502, 503, 504} {
		faults[fmt.Sprint(status)] = hubtest.Fault{Status: status, ErrorCode: "ServerError"}
		faults[fmt.Sprint(status, " of a proxy")] = hubtest.Fault{Status: status}
	}
	faults["failing over"] = hubtest.Fault{
		Status: 404, ErrorCode: "IotHubFailingOver", Code: 404012,
	}
	for _, status := range []int{
		http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound,
		http.StatusProxyAuthRequired, http.StatusFound,
	} {
		faults[fmt.Sprint(status, " of a proxy")] = hubtest.Fault{Status: status}
	}
	faults["cut"] = hubtest.Fault{Cut: true}
	faults["no answer"] = hubtest.Fault{NoAnswer: true}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			each(t, sendWirings, func(t *testing.T, r *rig) {
				r.warmed()
				fault := fault
				fault.On, fault.Times = hubtest.Send, always
				r.a.Inject(fault)
				dev := r.device()
				require.ErrorIs(t, r.send(dev, 14*time.Minute, reading), errSlept)
				took := time.Duration(0)
				if fault.NoAnswer {
					took = 105 * time.Second
				}
				checkBackoff(t, gaps(r.posts(r.a)), took)
				require.Zero(t, r.asked(), "not yet a matter for DPS")
				require.Empty(t, r.a.Messages())

				r.a.ClearFaults()
				require.NoError(t, r.send(dev, 6*time.Minute, reading))
				require.Len(t, r.a.Messages(), 1)
			})
		})
	}
}

func TestSendingToAHubInTroubleHonoursItsRetryAfter(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 503, ErrorCode: "ServiceUnavailable", RetryAfter: "90",
		})
		require.NoError(t, r.wake(2*time.Minute))
		between(t, 90*time.Second, 96*time.Second, r.posts(r.a)[1])
	})
}

func TestSendingToAHubThatCannotBeReachedBacksOff(t *testing.T) {
	for name, fault := range map[string]simnet.Fault{
		"refused": simnet.Refused, "reset": simnet.ResetOnAccept, "black hole": simnet.Blackhole,
		"name server": simnet.NameFailure,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, sendWirings, func(t *testing.T, r *rig) {
				r.warmed()
				r.network.SetFault(hubA, fault)
				var tries []time.Duration
				dev := r.device()
				dev.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) {
					if s.State == provisioning.StateSending {
						tries = append(tries, r.elapsed())
					}
				}}
				err := r.send(dev, 14*time.Minute, reading)
				require.ErrorIs(t, err, errSlept)
				require.Equal(t, hubconn.Unreachable, hubconn.ClassOf(err))
				require.NotEmpty(t, gaps(tries))
				for i, wait := range gaps(tries) {
					between(
						t, 5*time.Second,
						5*time.Second+min(5*time.Second<<i, 5*time.Minute)+110*time.Second, wait,
					)
				}
				require.Zero(t, r.asked())
			})
		})
	}
}

func TestALongOutageAsksDPSWhereToSend(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.network.SetFault(hubA, simnet.Refused)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		require.NoError(t, r.wake(31*time.Minute))
		require.Len(t, r.b.Messages(), 1)
		ops, at := r.requests()
		require.Equal(t, []dpstest.Op{dpstest.Lookup}, ops)
		between(t, 15*time.Minute, 30*time.Minute, at[0])
	})
}

func TestSendingToAnUntrustedServerTellsItNothing(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.UnknownCA, simnet.WrongName} {
		t.Run(kind.String(), func(t *testing.T) {
			each(t, sendWirings, func(t *testing.T, r *rig) {
				r.warmed()
				r.network.SetCertificate(hubA, kind)
				dialled := r.network.Dials(hubA)
				dev := r.device()
				err := r.send(dev, 12*time.Hour, reading)
				require.Equal(t, hubconn.Untrusted, hubconn.ClassOf(err))
				require.Empty(t, r.a.Operations(), "nothing was sent")
				require.LessOrEqual(
					t, r.network.Dials(hubA)-dialled, 12*60, "once a minute at most",
				)

				r.network.SetCertificate(hubA, simnet.Valid)
				require.NoError(t, r.send(dev, 7*time.Minute, reading))
			})
		})
	}
}

func TestAHubTurnsASendAwayClockCheckThenRegisterThenTheNewHub(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"401":     {Status: 401, ErrorCode: "IotHubUnauthorized"},
		"401002":  {Status: 401, ErrorCode: "IotHubUnauthorizedAccess", Code: 401002},
		"403":     {Status: 403, ErrorCode: "DeviceDisabled"},
		"404":     {Status: 404, ErrorCode: "DeviceNotFound"},
		"unknown": {Status: 410, ErrorCode: "NameNotFound"},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, append(dpsWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
				r.warmed()
				fault := fault
				fault.On, fault.Times = hubtest.Send, always
				r.a.Inject(fault)
				require.NoError(t, r.dps.Move(rigID, hubB))
				require.NoError(t, r.wake(time.Minute))
				require.Len(t, r.b.Messages(), 1)
				require.NotEmpty(
					t, r.posts(r.a), "the old hub is probed while DPS is asked, once more at most",
				)
				ops, at := r.requests()
				want := []dpstest.Op{dpstest.Clock, dpstest.Register}
				if r.wiring.x509 {
					want = want[1:] // no token, so no clock to blame
				}
				require.Equal(t, want, ops)
				require.Less(t, at[len(at)-1], time.Second)
				require.Less(t, r.posts(r.b)[0], 10*time.Second)

				r.reset()
				require.NoError(t, r.wake(time.Minute))
				require.Zero(t, r.asked(), "the new hub is remembered")
				require.Empty(t, r.posts(r.a))
			})
		})
	}
}

func TestSendGoesToTheHubTheDeviceWasMovedTo(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.dps.ResetLog()
		require.NoError(t, r.wake(time.Minute))
		require.Len(t, r.b.Messages(), 1)
		require.Equal(t, 1, r.asked(dpstest.Register))
		r.noConnection()
	})
}

func TestSendToAHubWhoseNameIsGoneRegisters(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.dps.ResetLog()
		r.network.SetFault(hubA, simnet.NameNotFound)
		require.NoError(t, r.wake(10*time.Minute))
		require.Len(t, r.b.Messages(), 1)
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Clock), "no clock is to blame for a name")
	})
}

func TestADisabledDeviceThatSendsDoesNotHammerDPS(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.SetEnabled(rigID, false))
		r.a.Disable(rigID)
		r.dps.ResetLog()
		dev := r.device()
		var at []time.Duration
		for range 100 { // it wakes, gives up, and sleeps
			require.ErrorIs(t, r.send(dev, time.Minute, reading), errSlept)
			time.Sleep(9 * time.Minute)
		}
		_, at = r.requests()
		require.LessOrEqual(t, len(at), 24, "in 16 hours: %v", at)
		require.NoError(t, r.dps.SetEnabled(rigID, true))
		r.a.Enable(rigID)
		require.NoError(t, r.send(dev, time.Hour, reading))
	})
}

func TestAHubThatLagsBehindDPSIsTriedAgainWithTheSameMessage(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 404, ErrorCode: "DeviceNotFound", Times: 2,
		})
		require.NoError(t, r.wake(time.Minute))
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Len(t, r.posts(r.a), 3)
		require.Len(t, r.a.Messages(), 1)
	})
}

func TestAWrongClockIsCorrectedAndTheMessageSentWithoutARegistration(t *testing.T) {
	for name, offset := range map[string]time.Duration{
		"two hours slow": 2 * time.Hour, "26 years slow": 26 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				r.warmed()
				r.network.SetClockOffset(offset)
				dev := r.device()
				require.NoError(t, r.send(dev, 2*time.Minute, reading))
				require.InDelta(t, offset.Seconds(), dev.Status().ClockOffset.Seconds(), 2)
				require.Len(t, r.a.Messages(), 1)
				require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
				require.Equal(t, 1, r.asked(dpstest.Clock))
			})
		})
	}
}

func TestAMessageAtFaultIsReturnedAtOnceAndLeavesEverythingAlone(t *testing.T) {
	for name, c := range map[string]struct {
		fault    hubtest.Fault
		messages []hubconn.Message
		requests int
	}{
		"400": {fault: hubtest.Fault{Status: 400, ErrorCode: "ArgumentInvalid"}, requests: 1},
		"412": {fault: hubtest.Fault{Status: 412, ErrorCode: "PreconditionFailed"}, requests: 1},
		"413": {fault: hubtest.Fault{Status: 413, ErrorCode: "MessageTooLarge"}, requests: 1},
		"415": {fault: hubtest.Fault{Status: 415, ErrorCode: "GenericUnsupportedMediaType"}, requests: 1},

		"no message":    {messages: []hubconn.Message{}},
		"too large":     {messages: []hubconn.Message{{Body: make([]byte, 300_000)}}},
		"not for HTTPS": {messages: []hubconn.Message{{Properties: map[string]string{"a b": ""}}}},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, sendWirings, func(t *testing.T, r *rig) {
				c := c
				r.warmed()
				store := &countingStore{Store: r.store}
				dev := r.device()
				dev.Store = store
				require.NoError(t, r.send(dev, time.Minute, reading))
				r.reset()
				before := dev.Status()
				if c.fault.Status != 0 {
					c.fault.On = hubtest.Send
					r.a.Inject(c.fault)
					c.messages = []hubconn.Message{reading}
				}
				err := r.send(dev, time.Hour, c.messages...)
				require.Error(t, err)
				require.Equal(t, hubconn.Caller, hubconn.ClassOf(err))
				require.NotErrorIs(t, err, errSlept)
				require.Less(t, r.elapsed(), time.Second, "at once")
				require.Len(
					t, r.posts(r.a), c.requests,
					"and never again: a poisoned message makes no loop",
				)
				after := dev.Status()
				before.NextHub, after.NextHub = time.Time{}, time.Time{}
				require.Equal(t, before, after)

				require.NoError(
					t, r.send(dev, time.Minute, reading), "the next one goes on its way",
				)
				require.Less(t, r.elapsed(), time.Second)
				require.Zero(t, r.asked())
				require.Zero(t, store.puts)
			})
		})
	}
}

func TestMaxAttemptsBoundsASend(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 503, ErrorCode: "ServiceUnavailable", Times: always,
		})
		dev := r.device()
		dev.Retry.MaxAttempts = 3
		err := r.send(dev, time.Hour, reading)
		require.NotErrorIs(t, err, errSlept)
		require.Equal(t, hubconn.Server, hubconn.ClassOf(err))
		require.Len(t, r.posts(r.a), 3)

		r.a.ClearFaults()
		require.NoError(t, r.send(dev, time.Hour, reading), "a call counts its own failures")
	})
}

func TestSendWithoutAStoreLooksUpAndWithoutDPSGoesOn(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		dev := r.device()
		dev.Store = nil
		require.NoError(t, r.send(dev, time.Minute, reading))
		require.Equal(t, 1, r.asked(dpstest.Lookup))
		require.Zero(t, r.asked(dpstest.Register))
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		require.NoError(t, r.send(dev, time.Minute, reading))
	})
}

func TestACandidateThatTakesAMessageIsConfirmedAndOneThatDoesNotIsNot(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.warmed()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.b.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 503, ErrorCode: "ServiceUnavailable", Times: always,
		})
		dev := r.device()
		require.ErrorIs(t, r.send(dev, 30*time.Second, reading), errSlept)
		got, err := r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, got.Confirmed.Hub)
		require.Equal(t, hubB, got.Candidate.Hub)

		r.b.ClearFaults()
		require.NoError(t, r.send(r.device(), 5*time.Minute, reading))
		got, err = r.device().Remembered(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubB, got.Confirmed.Hub)
		require.Nil(t, got.Candidate)
	})
}
