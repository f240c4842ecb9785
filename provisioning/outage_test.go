// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The log of a device that is not connected: a warning when that has lasted, at growing intervals,
// and the end of it.

// journal is a log whose lines can be looked at.
type journal struct{ lines }

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewJSONHandler(&j.lines, nil)) }

// at are the lines from a level on, as their keys.
func (j *journal) at(t *testing.T, least slog.Level) (found []map[string]any) {
	for line := range strings.Lines(j.String()) {
		var keys map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &keys))
		var level slog.Level
		require.NoError(t, level.UnmarshalText([]byte(keys["level"].(string))))
		if level >= least {
			found = append(found, keys)
		}
	}
	return found
}

// downs are for how long the device was not connected when the log warned of it, to the minute.
func (j *journal) downs(t *testing.T) (at []time.Duration) {
	for _, keys := range j.at(t, slog.LevelWarn) {
		if keys["msg"] == "the hub rejects the device" {
			continue // for a person, once
		}
		require.Equal(t, "device is not connected", keys["msg"])
		require.Equal(t, rigID, keys["device"])
		require.Positive(t, keys["attempts"])
		down := time.Duration(keys["down"].(float64) * float64(time.Second))
		at = append(at, down.Truncate(time.Minute))
	}
	return at
}

// threeDays is when the log warns of a device that is not connected for so long.
var threeDays = []time.Duration{
	10 * time.Minute, time.Hour, 6 * time.Hour, 24 * time.Hour, 48 * time.Hour, 72 * time.Hour,
}

func TestTheLogWarnsOfAnOutageAtGrowingIntervalsAndTellsItsEnd(t *testing.T) {
	for name, fail := range map[string]func(r *rig){
		"unreachable": func(r *rig) {
			r.network.SetFault(hubA, simnet.Refused)
			r.network.Cut(hubA)
		},
		"silent": func(r *rig) {
			r.network.SetFault(hubA, simnet.Blackhole)
			r.network.Cut(hubA)
		},
		"rejected": func(r *rig) {
			r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
			r.network.Cut(hubA)
		},
		"accepts and drops": func(r *rig) {
			r.a.Inject(hubtest.Fault{On: hubtest.Publish, Cut: true, Times: always})
			r.network.Cut(hubA)
		},
		"throttles for a day": func(r *rig) {
			r.a.Inject(hubtest.Fault{
				On: hubtest.Upgrade, Status: 429, ErrorCode: "ThrottlingException",
				RetryAfter: "86400", Times: always,
			})
			r.network.Cut(hubA)
		},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{ws: name == "throttles for a day"}}, func(t *testing.T, r *rig) {
				var out journal
				dev := r.device()
				dev.Logger = out.logger()
				stop := r.run(dev)
				r.await(0, time.Minute)
				time.Sleep(time.Hour)
				fail(r)
				time.Sleep(3*24*time.Hour + 30*time.Minute)
				require.Equal(t, threeDays, out.downs(t))
				require.WithinDuration(t, time.Now().Add(-72*time.Hour-30*time.Minute),
					dev.Status().DownSince, time.Minute)
				require.Positive(t, dev.Status().DownAttempts)

				r.network.SetFault(hubA, simnet.None)
				r.a.ClearFaults()
				time.Sleep(25 * time.Hour)
				lines := out.at(t, slog.LevelInfo)
				var ends []map[string]any
				for _, keys := range lines {
					if keys["state"] == "connected" && keys["down"] != nil {
						ends = append(ends, keys)
					}
				}
				end := ends[len(ends)-1]
				require.Equal(t, "INFO", end["level"])
				source, _ := end["source"].(string)
				require.Equal(t, "connected to "+hubA+" (from "+source+")", end["msg"])
				require.Greater(t, end["down"], 72*3600.0)
				require.Zero(t, dev.Status().DownSince)
				stop()
			})
		})
	}
}

func TestTheLogWarnsOfNoBlip(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		stop := r.run(dev)
		r.await(0, time.Minute)
		for range 20 {
			r.network.RefuseFor(hubA, 3*time.Minute)
			r.network.Cut(hubA)
			time.Sleep(10 * time.Minute)
			require.True(t, r.a.Connected(rigID))
		}
		stop()
		require.Empty(t, out.at(t, slog.LevelWarn))
		require.Equal(t, 20, dev.Status().Disconnections)
		require.Equal(t, 21, dev.Status().Connections)
	})
}

func TestTheLogWarnsOnceAcrossProcessesThatLiveForTwoMinutes(t *testing.T) {
	for name, power := range powers {
		for trouble, fail := range map[string]func(*rig){
			"refused": func(r *rig) { r.network.SetFault(hubA, simnet.Refused) },
			"silent":  func(r *rig) { r.network.SetFault(hubA, simnet.Blackhole) },
		} {
			t.Run(name+"/"+trouble, func(t *testing.T) {
				each(t, []wiring{{}}, func(t *testing.T, r *rig) {
					r.warmed()
					fail(r)
					var out journal
					r.sleep(int(72*time.Hour/(wake+nap)), func(r *rig, dev *provisioning.Device) {
						power(r, dev)
						dev.Logger = out.logger()
					})
					downs := out.downs(t)
					if strings.Contains(name, "stands still") {
						// each wake counts for a few minutes: the outage seems to be shorter
						require.GreaterOrEqual(t, len(downs), 3, "%v", downs)
					} else {
						require.GreaterOrEqual(t, len(downs), 5, "%v", downs)
					}
					require.LessOrEqual(t, len(downs), len(threeDays), "%v", downs)
				})
			})
		}
	}
}

func TestTheLogWarnsOfADeviceThatWakesForLessThanAnAttempt(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.warmed()
		r.network.SetFault(hubA, simnet.Blackhole)
		var out journal
		for range 72 {
			dev := r.device()
			dev.Logger = out.logger()
			require.ErrorIs(t, r.send(dev, 5*time.Second, hubconn.Message{}), errSlept)
			time.Sleep(time.Hour)
		}
		require.Len(t, out.downs(t), 4, "%v", out.downs(t)) // 1 h, 6 h, 1 d, 2 d
	})
}

func TestTheLogWarnsOfADeviceThatWasNeverAssigned(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		var out journal
		for range 72 * 4 {
			dev := r.device()
			dev.Logger = out.logger()
			require.ErrorIs(t, r.send(dev, wake, hubconn.Message{}), errSlept)
			time.Sleep(13 * time.Minute)
		}
		require.Len(t, out.downs(t), 5, "%v", out.downs(t))
		require.Empty(t, out.at(t, slog.LevelWarn)[0]["hub"])
	})
}

func TestTheLogWarnsOfAClientOfTheProgramsOwn(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.boot()
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		for end := time.Now().Add(72*time.Hour + 30*time.Minute); time.Now().Before(end); {
			a, err := dev.NextAttempt(t.Context())
			require.NoError(t, err)
			_, err = dev.Rejected(t.Context(), a, &hubconn.Error{
				Op: "dial", Hub: a.Target(), Err: syscall.ECONNREFUSED,
			})
			require.NoError(t, err)
		}
		require.Equal(t, threeDays, out.downs(t))
		a, err := dev.NextAttempt(t.Context())
		require.NoError(t, err)
		require.NoError(t, dev.Confirm(t.Context(), a))
		time.Sleep(time.Minute)
		require.NoError(t, dev.Confirm(t.Context(), a))
		require.Zero(t, dev.Status().DownSince)
		require.NoError(t, dev.Closed(t.Context(), a))
		require.Len(t, out.at(t, slog.LevelWarn), len(threeDays))
	})
}

func TestTheLogWarnsOfAClientThatWakesByTheHourOnlyWhereItFailsAgain(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		var out journal
		wake := func(fails bool) {
			dev := r.device()
			dev.Logger = out.logger()
			a, err := dev.NextAttempt(t.Context())
			require.NoError(t, err)
			if fails {
				_, err = dev.Rejected(t.Context(), a, context.DeadlineExceeded)
				require.NoError(t, err)
			} else {
				require.NoError(t, dev.Confirm(t.Context(), a))
				require.NoError(t, dev.Closed(t.Context(), a))
			}
			time.Sleep(time.Hour)
		}
		for _, fails := range []bool{false, true, false, true, false} {
			wake(fails)
			require.Empty(t, out.downs(t), "what mends at the next wake is no warning")
		}
		for range 3 {
			wake(true)
		}
		wake(false)
		require.Equal(t, []time.Duration{time.Hour}, out.downs(t), "once until six hours")
	})
}

func TestAConnectionFromConnectEndsTheOutageOnceItIsStable(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		r.network.RefuseFor(hubA, 3*time.Minute)
		conn, err := dev.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, conn.Send(t.Context(), reading))
		require.NotZero(t, dev.Status().DownSince)
		require.NotZero(t, dev.Status().DownAttempts)
		time.Sleep(31 * time.Second)
		require.Zero(t, dev.Status().DownSince)
		require.Zero(t, dev.Status().DownAttempts)
		r.network.Cut(hubA)
		time.Sleep(time.Hour) // nobody connects again
		require.WithinDuration(t, time.Now().Add(-time.Hour), dev.Status().DownSince, time.Second)
		require.NoError(t, conn.Close())
	})
}

func TestASenderTellsWhenItsOutageIsOver(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.warmed()
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		for range 3 {
			require.NoError(t, r.send(dev, wake, hubconn.Message{Body: []byte("21")}))
			time.Sleep(time.Hour) // nothing is missing meanwhile
		}
		require.Equal(t, 3, strings.Count(out.String(), `"message acknowledged"`))
		r.network.SetFault(hubA, simnet.Refused)
		require.ErrorIs(t, r.send(dev, wake, hubconn.Message{}), errSlept)
		time.Sleep(30 * time.Minute)
		require.ErrorIs(t, r.send(dev, wake, hubconn.Message{}), errSlept)
		require.Len(t, out.downs(t), 1)
		r.network.SetFault(hubA, simnet.None)
		time.Sleep(30 * time.Minute)
		require.NoError(t, r.send(dev, wake, hubconn.Message{Body: []byte("21")}))
		require.Zero(t, dev.Status().DownSince)
		require.Contains(t, out.String(), `"message acknowledged","device":"`+rigID+`","hub":"`+hubA+
			`","device_id":"`+rigID+`","down":38`)
	})
}

func TestTheCausesOfFailuresGroup(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		r.boot()
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.network.SetFault(hubA, simnet.Refused)
		r.network.Cut(hubA)
		time.Sleep(time.Hour)
		r.network.SetFault(hubA, simnet.Blackhole)
		time.Sleep(time.Hour)
		r.network.SetFault(hubA, simnet.None)
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: always})
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, Times: always})
		time.Sleep(6 * time.Hour)
		stop()
		causes := map[any]int{}
		for _, keys := range out.at(t, slog.LevelInfo) {
			if keys["cause"] != nil {
				causes[keys["cause"]]++
			}
			cause, _ := keys["cause"].(string)
			require.NotContains(t, cause, "202")
			if strings.HasPrefix(cause, "dps register: status 503") {
				require.NotEmpty(t, keys["tracking_id"])
				require.EqualValues(t, 503, keys["status"])
				require.Equal(t, "server", keys["class"])
			}
		}
		require.LessOrEqual(t, len(causes), 8, "%v", causes)
		require.Greater(t, causes["connect: refused with return code 3"], 20, "%v", causes)
		require.Greater(t, causes["dps register: status 503 service unavailable"], 1, "%v", causes)
	})
}

func TestWithoutALoggerWhatOnlyAPersonMendsGoesToTheDefaultOneOnce(t *testing.T) {
	// not in parallel: the default logger is the process's
	var out bytes.Buffer
	before, writer, flags := slog.Default(), log.Writer(), log.Flags()
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(writer) // which SetDefault has led to the other logger
		log.SetFlags(flags)
	}()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, wiring{})
		t.Cleanup(func() { require.NoError(t, r.network.Close()) })
		slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
		dev := r.device()
		dev.Attestation = dps.SymmetricKey{ID: rigID, Key: moduleKey("another")}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Hour)
		defer cancel()
		_ = dev.Run(ctx, r.session)
		require.Greater(t, r.asked(dpstest.Register), 5)
		require.Equal(t, 1, strings.Count(out.String(), "\n"), out.String())
		for _, part := range []string{
			"level=ERROR", "device=" + rigID, "status=401", "overview page", "registration ID",
			"primary or secondary key", "wait=", "Reprovision", "do not fit each other",
		} {
			require.Contains(t, out.String(), part)
		}
		require.NotContains(t, out.String(), moduleKey("another"))

		out.Reset()
		silent := r.device()
		silent.Attestation, silent.Logger = dev.Attestation, slog.New(slog.DiscardHandler)
		ctx, cancel = context.WithTimeout(context.Background(), 5*time.Hour)
		defer cancel()
		_ = silent.Run(ctx, r.session)
		require.Empty(t, out.String())
	})
}

// DPS goes on naming the hub, which goes on turning the device away: one of both has to be changed.
func TestAHubThatRejectsWhatDPSAssignsToItIsForAPersonOnce(t *testing.T) {
	each(t, append(dpsWirings, wiring{x509: true}), func(t *testing.T, r *rig) {
		r.boot()
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		require.True(t, r.a.Disable(rigID))
		stop := r.run(dev)
		time.Sleep(9 * time.Minute)
		require.Positive(t, r.asked(dpstest.Register))
		require.Empty(t, out.at(t, slog.LevelError), "it may lag behind DPS")
		time.Sleep(6 * time.Hour)
		errors := out.at(t, slog.LevelError)
		require.Len(t, errors, 1)
		require.Equal(t, "the hub rejects the device", errors[0]["msg"])
		require.Equal(t, "rejected", errors[0]["class"])
		require.Contains(t, errors[0]["fix"], "registry")
		stop()
	})
}

func TestARejectionIsNothingForAPersonWhileDPSIsAway(t *testing.T) {
	each(t, []wiring{{x509: true}}, func(t *testing.T, r *rig) {
		r.boot()
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		require.True(t, r.a.Disable(rigID)) // DPS may have moved it
		r.dps.Inject(dpstest.Fault{Cut: true, Times: 1000})
		stop := r.run(dev)
		time.Sleep(5 * time.Hour)
		require.Greater(t, len(r.a.Attempts()), 5)
		require.Empty(t, out.at(t, slog.LevelError))
		stop()
	})
}

func TestARejectionForAWrongClockIsNothingForAPerson(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetClockOffset(3 * time.Hour)             // the device's is slow
		r.dps.Inject(dpstest.Fault{Cut: true, Times: 1000}) // nobody tells the time
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		stop := r.run(dev)
		time.Sleep(5 * time.Hour)
		require.Greater(t, len(r.a.Attempts()), 5)
		require.NotContains(t, out.String(), "the hub rejects the device")
		stop()
	})
}

func TestARefusalForAWrongClockIsNothingForAPerson(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.network.SetClockOffset(3 * time.Hour) // the device's is slow
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		stop := r.run(dev)
		r.await(0, 5*time.Minute)
		stop()
		require.Contains(t, out.String(), `"status":401`)
		require.Empty(t, out.at(t, slog.LevelWarn))
	})
}

func TestWhoMendsTheEnrollmentOfANewDeviceWaitsForMinutes(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		var out journal
		dev := r.device()
		dev.Logger = out.logger()
		dev.Attestation = dps.SymmetricKey{ID: "sensor-043", Key: rigKey}
		stop := r.run(dev)
		time.Sleep(30 * time.Minute) // the fourth is after 25 min and 12 s at the latest
		at := r.times(dpstest.Register)
		require.Len(t, at, 4) // at once, and after 1, 5 and 15 min, each ± 20 %
		for i, gap := range []time.Duration{1, 5, 15} {
			between(t, gap*48*time.Second, gap*73*time.Second, at[i+1]-at[i])
		}
		errors := out.at(t, slog.LevelError)
		require.Len(t, errors, 1)
		require.Equal(t, "DPS refuses the device", errors[0]["msg"])
		require.Contains(t, errors[0]["fix"], "Device.Reprovision")
		between(t, 48*time.Second, 73*time.Second,
			time.Duration(errors[0]["wait"].(float64)*float64(time.Second)))

		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: "sensor-043", Attestation: dpstest.Keys(rigKey, ""),
			IoTHubs: []string{hubA},
		}))
		_, err := dev.Reprovision(context.Background(), "mended")
		require.NoError(t, err)
		time.Sleep(rigStep)
		require.True(t, r.a.Connected("sensor-043"))
		stop()
	})
}

// Who mends the enrollment and starts the program again would else see nothing but a wait.
func TestTheNextStartSaysThatDPSHasRefusedTheDevice(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		start := func(wait time.Duration) *journal {
			var out journal
			dev := r.device()
			dev.Logger = out.logger()
			dev.Attestation = dps.SymmetricKey{ID: "sensor-043", Key: rigKey}
			stop := r.run(dev)
			time.Sleep(wait)
			stop()
			return &out
		}
		start(10 * time.Second)
		out := start(10 * time.Second)
		require.Equal(t, 1, r.dps.Count(dpstest.Register), "the wait outlives the process")
		errors := out.at(t, slog.LevelError)
		require.Len(t, errors, 1)
		require.Equal(t, "DPS refuses the device", errors[0]["msg"])
		require.Contains(t, errors[0]["cause"], "earlier process")
		require.Contains(t, errors[0]["fix"], "enrollment")
		require.Contains(t, errors[0]["fix"], "Device.Reprovision")
		require.Contains(t, out.String(), `"state":"waiting","cause":"an earlier process was refused`)
		require.NotContains(t, out.String(), "nothing remembered")

		out = start(2 * time.Minute)
		errors = out.at(t, slog.LevelError)
		require.Len(t, errors, 2, "then with the answer of DPS")
		require.EqualValues(t, 401, errors[1]["status"])
	})
}
