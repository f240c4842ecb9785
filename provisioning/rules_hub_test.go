// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
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

// Row by row: what the hub's answer calls for. The hub fails from the warm boot on, until a test
// says otherwise.

const always = -1

// attempts are the times of the tries at a hub, since the rig was reset.
func (r *rig) attempts(h *hubtest.Hub) (at []time.Duration) {
	for _, a := range h.Attempts() {
		at = append(at, a.Time.Sub(r.start))
	}
	return at
}

// requests are the operations asked of DPS, with their times since the rig was reset. Polls are
// left out.
func (r *rig) requests() (ops []dpstest.Op, at []time.Duration) {
	for _, q := range r.dps.Requests() {
		if q.Op != dpstest.Poll && q.Op != dpstest.Connect {
			ops, at = append(ops, q.Op), append(at, q.Time.Sub(r.start))
		}
	}
	return ops, at
}

// gaps are the distances between times.
func gaps(at []time.Duration) (d []time.Duration) {
	for i := 1; i < len(at); i++ {
		d = append(d, at[i]-at[i-1])
	}
	return d
}

func between(t *testing.T, lo, hi, d time.Duration, what ...any) {
	t.Helper()
	require.GreaterOrEqual(t, d, lo, what...)
	require.LessOrEqual(t, d, hi, what...)
}

// serverFailures are the ways in which a hub says "not now", by transport.
func serverFailures(ws bool) map[string]hubtest.Fault {
	faults := map[string]hubtest.Fault{
		"CONNACK 3":      {On: hubtest.Connect, ReturnCode: 3, Times: always},
		"late CONNACK 5": {On: hubtest.Connect, ReturnCode: 5, Delay: 46 * time.Second, Times: always},
	}
	if ws {
		for _, status := range []int{500, 502, 503, 504} {
			faults[fmt.Sprint("upgrade ", status)] = hubtest.Fault{
				On: hubtest.Upgrade, Status: status, ErrorCode: "ServerError", Times: always,
			}
			faults[fmt.Sprint("upgrade ", status, " of a proxy")] = hubtest.Fault{
				On: hubtest.Upgrade, Status: status, Times: always,
			}
		}
	}
	return faults
}

func unreachableFaults(ws bool) map[string]func(r *rig) {
	faults := map[string]func(r *rig){
		"refused":    func(r *rig) { r.network.SetFault(hubA, simnet.Refused) },
		"reset":      func(r *rig) { r.network.SetFault(hubA, simnet.ResetOnAccept) },
		"black hole": func(r *rig) { r.network.SetFault(hubA, simnet.Blackhole) },
		"DNS":        func(r *rig) { r.network.SetFault(hubA, simnet.NameFailure) },
		"no CONNACK": func(r *rig) { r.a.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: always}) },
		"cut":        func(r *rig) { r.a.Inject(hubtest.Fault{On: hubtest.Connect, Cut: true, Times: always}) },
	}
	if ws {
		for _, status := range []int{
			http.StatusForbidden, http.StatusNotFound, http.StatusUnauthorized,
			http.StatusProxyAuthRequired, http.StatusOK,
		} {
			faults[fmt.Sprint("upgrade ", status, " of a proxy")] = func(r *rig) {
				r.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: status, Times: always})
			}
		}
	}
	return faults
}

func TestServerFailureBacksOffExponentiallyFromFiveSeconds(t *testing.T) {
	for _, w := range hubWirings {
		for name, fault := range serverFailures(w.ws) {
			t.Run(name, func(t *testing.T) {
				each(t, []wiring{w}, func(t *testing.T, r *rig) {
					r.boot()
					r.a.Inject(fault)
					stop := r.run(r.device())
					time.Sleep(14 * time.Minute)
					stop()
					checkBackoff(t, gaps(r.attempts(r.a)), fault.Delay)
					require.Zero(t, r.asked(), "not yet a matter for DPS")
				})
			})
		}
	}
}

// checkBackoff: floor 5 s, and a random part whose limit doubles from 5 s to 5 min. took is how
// long an attempt lasted.
func checkBackoff(t *testing.T, waits []time.Duration, took time.Duration) {
	t.Helper()
	require.NotEmpty(t, waits)
	const slack = time.Second
	for i, wait := range waits {
		limit := min(5*time.Second<<i, 5*time.Minute)
		between(t, 5*time.Second+took, 5*time.Second+limit+took+slack, wait, "retry %d", i+1)
	}
}

func TestUnreachableHubBacksOffAsAServerFailure(t *testing.T) {
	for _, w := range hubWirings {
		for name, fail := range unreachableFaults(w.ws) {
			t.Run(name, func(t *testing.T) {
				each(t, []wiring{w}, func(t *testing.T, r *rig) {
					r.boot()
					fail(r)
					var tries []time.Duration
					dev := r.device()
					dev.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) {
						if s.State == provisioning.StateConnecting {
							tries = append(tries, r.elapsed())
						}
					}}
					stop := r.run(dev)
					time.Sleep(14 * time.Minute)
					require.Equal(t, hubconn.Unreachable, dev.Status().Class)
					stop()
					for i, wait := range gaps(tries) {
						between(
							t, 5*time.Second,
							5*time.Second+min(5*time.Second<<i, 5*time.Minute)+110*time.Second,
							wait,
						)
					}
					require.NotEmpty(t, gaps(tries))
					require.Zero(t, r.asked())
				})
			})
		}
	}
}

func TestAnOutageAsksDPSWithGrowingDistanceAndRegistersTheThirdTime(t *testing.T) {
	for name, fail := range map[string]func(r *rig){
		"server":      func(r *rig) { r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always}) },
		"unreachable": func(r *rig) { r.network.SetFault(hubA, simnet.Refused) },
		"lost link": func(r *rig) {
			r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Skip: 1, Times: always})
			time.AfterFunc(time.Second, func() { r.network.Cut(hubA) })
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
				r.boot()
				fail(r)
				stop := r.run(r.device())
				time.Sleep(4 * time.Hour)
				stop()
				ops, at := r.requests()
				require.GreaterOrEqual(t, len(ops), 3)
				require.Equal(
					t, []dpstest.Op{dpstest.Lookup, dpstest.Lookup, dpstest.Register}, ops[:3],
				)
				const slack = 2 * time.Minute
				between(t, 15*time.Minute, 30*time.Minute+slack, at[0])
				between(t, 30*time.Minute, 60*time.Minute+slack, at[1]-at[0])
				between(t, 60*time.Minute, 120*time.Minute+slack, at[2]-at[1])
			})
		})
	}
}

func TestAnOutageLookupFindsTheHubTheFleetWasMovedTo(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.Refused)
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		stop := r.run(r.device())
		s := r.await(0, 31*time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.Equal(t, 1, r.asked(dpstest.Lookup))
		require.Zero(t, r.asked(dpstest.Register))
	})
}

func TestThrottledHubIsLeftAloneForRetryAfter(t *testing.T) {
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
		"negative":  {"-5", 429001, 429, 10 * time.Second, 15 * time.Second},
		"nonsense":  {"soon", 429001, 429, 10 * time.Second, 15 * time.Second},
		"a day":     {"86400", 429001, 429, 24 * time.Hour, 24*time.Hour + 6*time.Second},
		"quota":     {"600", 403002, 403, 600 * time.Second, 606 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: true}}, func(t *testing.T, r *rig) {
				r.boot()
				r.a.Inject(hubtest.Fault{
					On: hubtest.Upgrade, Status: c.status, ErrorCode: "ThrottlingException",
					Code: c.code, RetryAfter: c.retryAfter,
				})
				stop := r.run(r.device())
				s := r.await(0, 25*time.Hour)
				stop()
				between(t, c.floor, c.most+time.Second, s.at)
				require.Zero(t, r.asked(), "the hub is right, the device is known")
			})
		})
	}
}

func TestHubWhoseNameIsGoneIsARejection(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.dps.MoveNow(rigID, hubB))
		r.dps.ResetLog()
		r.network.SetFault(hubA, simnet.NameNotFound)
		stop := r.run(r.device())
		s := r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, hubB, s.hub)
		require.GreaterOrEqual(t, s.at, 2*time.Minute, "names vanish for a moment")
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Clock), "no clock is to blame for a name")
	})
}

func TestNoNameAtAllIsAnOutage(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.NameNotFound)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.NameNotFound)
		stop := r.run(r.device())
		time.Sleep(10 * time.Minute)
		r.network.SetFault(hubA, simnet.None)
		s := r.await(0, 6*time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Zero(t, r.asked())
	})
}

func TestUntrustedServerGetsNoCredentialAndIsNoReasonToRegisterSoon(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.UnknownCA, simnet.WrongName} {
		t.Run(kind.String(), func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetCertificate(hubA, kind)
				var dials dialLog
				dev := r.device()
				dials.watch(r)(dev)
				stop := r.run(dev)
				time.Sleep(72 * time.Hour)
				require.Equal(t, hubconn.Untrusted, dev.Status().Class)
				stop()
				require.Empty(t, r.a.Attempts(), "nothing was sent")
				ops, _ := r.requests()
				require.Greater(t, len(ops), 2)
				for i, op := range ops {
					want := dpstest.Register // DPS's own certificate verifies
					if i < 2 {
						want = dpstest.Lookup
					}
					require.Equal(t, want, op, "question %d", i+1)
				}
				tries := gaps(dials.to(hubA))
				require.NotEmpty(t, tries)
				for _, wait := range tries {
					between(t, time.Minute, 6*time.Minute+time.Second, wait)
				}
			})
		})
	}
}

func TestAnExpiredServerCertificateAsksForTheTimeOnceAndWaits(t *testing.T) {
	for _, kind := range []simnet.CertificateKind{simnet.Expired, simnet.NotYetValid} {
		t.Run(kind.String(), func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetCertificate(hubA, kind)
				stop := r.run(r.device())
				time.Sleep(50 * time.Minute)
				require.Equal(t, 1, r.asked(dpstest.Clock))
				require.Zero(t, r.asked(dpstest.Register))
				r.network.SetCertificate(hubA, simnet.Valid)
				r.await(0, 7*time.Minute)
				stop()
			})
		})
	}
}

func rejections(ws bool) map[string]hubtest.Fault {
	faults := map[string]hubtest.Fault{}
	for _, code := range []byte{2, 4, 5} {
		faults[fmt.Sprint("CONNACK ", code)] = hubtest.Fault{
			On: hubtest.Connect, ReturnCode: code, Times: always,
		}
	}
	if ws {
		for status, name := range map[int]string{
			401: "IotHubUnauthorizedAccess", 403: "DeviceDisabled", 404: "DeviceNotFound",
		} {
			faults[fmt.Sprint("upgrade ", status)] = hubtest.Fault{
				On: hubtest.Upgrade, Status: status, ErrorCode: name, Times: always,
			}
		}
	}
	return faults
}

func TestRejectionChecksTheClockAndRegistersAtOnce(t *testing.T) {
	for _, w := range append(hubWirings, wiring{dps: dps.MQTT}, wiring{dps: dps.MQTTWebSocket}) {
		for name, fault := range rejections(w.ws) {
			t.Run(name, func(t *testing.T) {
				each(t, []wiring{w}, func(t *testing.T, r *rig) {
					r.boot()
					r.a.Inject(fault)
					require.NoError(t, r.dps.Move(rigID, hubB))
					stop := r.run(r.device())
					s := r.await(0, time.Minute)
					stop()
					require.Equal(t, hubB, s.hub)
					require.Less(t, s.at, 10*time.Second)
					ops, at := r.requests()
					require.Equal(t, []dpstest.Op{dpstest.Clock, dpstest.Register}, ops)
					require.Less(t, at[1], time.Second)
				})
			})
		}
	}
}

func TestARejectedDeviceWithACertificateDoesNotBlameTheClock(t *testing.T) {
	each(t, []wiring{{x509: true}, {ws: true, x509: true}}, func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		require.NoError(t, r.dps.Move(rigID, hubB))
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		ops, _ := r.requests()
		require.Equal(t, []dpstest.Op{dpstest.Register}, ops)
	})
}

func TestRejectedDeviceProbesTheHubWhileDPSIsDown(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 4})
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		stop := r.run(r.device())
		s := r.await(0, 2*time.Hour)
		stop()
		require.Equal(t, hubA, s.hub, "the hub took it back while DPS could not be asked")
		for i, wait := range gaps(r.attempts(r.a)) {
			gap := []time.Duration{1, 5, 15, 30}[i] * time.Minute
			between(t, gap*8/10, gap*12/10+time.Second, wait)
		}
	})
}

func TestStaggerSpreadsRegistrationsAfterARejectionButNoConnection(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		dev.Stagger = 10 * time.Hour
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		require.Less(t, s.at, time.Second)
		stop()

		var latest time.Duration
		for _, hub := range []string{hubB, hubC, hubA} {
			require.NoError(t, r.dps.MoveNow(rigID, hub))
			r.reset()
			dev = r.device()
			dev.Stagger = 10 * time.Hour
			stop = r.run(dev)
			s = r.await(0, 11*time.Hour)
			stop()
			require.Equal(t, hub, s.hub)
			latest = max(latest, s.at)
		}
		require.Greater(t, latest, time.Minute, "three draws below one in 600 do not happen")
	})
}

func TestWrongClockIsCorrectedAndNothingRegistered(t *testing.T) {
	for name, offset := range map[string]time.Duration{
		"two hours slow": 2 * time.Hour, "26 years slow": 26 * 365 * 24 * time.Hour,
	} {
		t.Run(name, func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetClockOffset(offset)
				dev := r.device()
				stop := r.run(dev)
				s := r.await(0, 2*time.Minute)
				require.InDelta(t, offset.Seconds(), dev.Status().ClockOffset.Seconds(), 2)
				stop()
				require.Equal(t, hubA, s.hub)
				require.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
				require.Equal(t, 1, r.asked(dpstest.Clock))
			})
		})
	}
}

func TestAnOperationsOwnFaultIsReturnedAndTheConnectionStays(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		var failure error
		done := errors.New("session done")
		err := r.device().Run(context.Background(),
			func(ctx context.Context, hub *hubconn.Conn) error {
				failure = hub.Send(ctx, hubconn.Message{Body: make([]byte, 300_000)})
				assert.NoError(t, ctx.Err())
				assert.NoError(t, hub.Send(ctx, hubconn.Message{Body: []byte("still here")}))
				return done
			})
		require.ErrorIs(t, err, done)
		require.Equal(t, hubconn.Caller, hubconn.ClassOf(failure))
		require.Len(t, r.a.Attempts(), 1)
		require.Zero(t, r.asked())
	})
}

func TestBackoffIsForgottenOnlyAfterAStableConnection(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		// Out of quota: every connection is accepted, and dropped at the first message.
		r.a.Inject(hubtest.Fault{On: hubtest.Publish, Close: true, Times: always})
		stop := r.run(r.device())
		time.Sleep(14 * time.Minute)
		require.LessOrEqual(
			t, len(r.seen()), 30, "the delay grows although each connection was accepted",
		)
		require.Zero(t, r.asked())

		r.a.ClearFaults()
		r.await(len(r.seen()), 6*time.Minute)
		time.Sleep(time.Minute)
		n, before := len(r.seen()), r.elapsed()
		r.a.Disconnect(rigID)
		s := r.await(n, time.Minute)
		stop()
		between(
			t, 5*time.Second, 11*time.Second, s.at-before,
			"after a minute of good service the delay starts anew",
		)
	})
}

func TestTwoTimersAHubThatComesBackIsNotMissedWhileDPSThrottles(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.dps.Inject(dpstest.Fault{Status: 429, RetryAfter: "3600", Times: always})
		// a rejection sends the device to DPS …
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		r.network.SetFault(hubA, simnet.None)
		// … then the hub goes down
		time.AfterFunc(time.Second, func() { r.network.SetFault(hubA, simnet.Refused) })
		stop := r.run(r.device())
		time.Sleep(10 * time.Minute)
		require.NotZero(t, r.asked(), "DPS was asked, and throttles")
		r.network.SetFault(hubA, simnet.None)
		back := r.elapsed()
		s := r.await(0, 6*time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		require.LessOrEqual(
			t, s.at-back, 5*time.Minute+6*time.Second, "within the hub's own schedule",
		)
	})
}
