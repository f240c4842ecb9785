// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// System clocks that are set while the device runs, by as much as nobody expects, and devices that
// are suspended: their monotonic clock stands still.

// jumps are how far the system's clock is set, at a time.
var jumps = map[string]func(now time.Time) time.Duration{
	"+ 2 h":   func(time.Time) time.Duration { return 2 * time.Hour },
	"− 2 h":   func(time.Time) time.Duration { return -2 * time.Hour },
	"+ 1 day": func(time.Time) time.Duration { return 24 * time.Hour },
	"− 1 day": func(time.Time) time.Duration { return -24 * time.Hour },
	"to 1970": func(now time.Time) time.Duration { return time.Unix(0, 0).Sub(now) },
}

// beyond is a jump beyond the end of the servers' certificates.
const beyond = "+ 1 year"

// farther are the jumps and that one.
func farther() map[string]func(now time.Time) time.Duration {
	all := maps.Clone(jumps)
	all[beyond] = func(time.Time) time.Duration { return 366 * 24 * time.Hour }
	return all
}

// clockWait is what a device may be waiting for, and when it goes on by its own word.
type clockWait struct {
	wiring wiring
	warm   bool
	begin  func(r *rig)
	next   func(s provisioning.Status) time.Time
	tries  func(r *rig) []time.Duration
}

var clockWaits = map[string]clockWait{
	"Retry-After of DPS": {
		begin: func(r *rig) {
			r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "30"})
		}, next: nextDPS, tries: registrations,
	},
	"Retry-After of a poll": {
		begin: func(r *rig) {
			r.dps.Inject(dpstest.Fault{On: dpstest.Poll, Status: 429, RetryAfter: "30"})
		}, next: nextDPS, tries: func(r *rig) []time.Duration { return r.times(dpstest.Poll) },
	},
	"Retry-After of the hub": {
		wiring: wiring{ws: true}, warm: true, begin: func(r *rig) {
			r.a.Inject(hubtest.Fault{On: hubtest.Upgrade, Status: 429, RetryAfter: "30"})
		}, next: nextHub, tries: func(r *rig) []time.Duration { return r.attempts(r.a) },
	},
	"back-off of DPS": {
		wiring: wiring{dps: dps.MQTT}, begin: func(r *rig) {
			r.dps.Inject(dpstest.Fault{On: dpstest.Connect, ReturnCode: 3, Times: 5})
		}, next: nextDPS, tries: func(r *rig) []time.Duration { return r.times(dpstest.Connect) },
	},
	"back-off of the hub": {
		warm: true, begin: func(r *rig) {
			r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: 5})
		}, next: nextHub, tries: func(r *rig) []time.Duration { return r.attempts(r.a) },
	},
}

func nextHub(s provisioning.Status) time.Time { return s.NextHub }
func nextDPS(s provisioning.Status) time.Time { return s.NextDPS }

func registrations(r *rig) []time.Duration { return r.times(dpstest.Register) }

// waitsFor runs a device until it is in the middle of a wait.
func (r *rig) waitsFor(
	c clockWait,
) (dev *provisioning.Device, set func(ahead time.Duration), stop func()) {
	if c.warm {
		r.boot()
	}
	dev, set = withFastClock(r.device(), 0)
	c.begin(r)
	stop = r.run(dev)
	for !c.next(dev.Status()).After(time.Now().Add(2 * time.Second)) {
		time.Sleep(rigStep)
	}
	return dev, set, stop
}

// Every wait is as long as it was, however the clock is set in the middle of it, and what follows
// is no more than without.
func TestSettingTheClockChangesNoWait(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	for wait, c := range clockWaits {
		for jump, by := range farther() {
			t.Run(wait+", "+jump, func(t *testing.T) {
				each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
					dev, set, stop := r.waitsFor(c)
					defer stop()
					next, tries := c.next(dev.Status()), len(c.tries(r))
					time.Sleep(time.Second)
					set(by(time.Now()))
					require.Equal(t, next, c.next(dev.Status()))
					time.Sleep(time.Until(next) - time.Nanosecond)
					require.Len(t, c.tries(r), tries, "none before its time")
					time.Sleep(rigStep)
					after := c.tries(r)[tries:]
					require.NotEmpty(t, after, "nor after it")
					require.Equal(t, next.Sub(r.start), after[0])

					r.await(0, 10*time.Minute)
					assert.LessOrEqual(t, r.assigned(), 1, "%v", r.dps.Requests())
					assert.LessOrEqual(t, r.asked(dpstest.Clock), 1)
					if c.warm {
						assert.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
					}
				})
			})
		}
	}
}

// Nothing becomes of a clock that is set while the device is connected: the same session goes on,
// through six renewals of its token. But where DPS has told nothing since the device booted from
// its store, and no certificate is valid any more by the clock, the next token has no connection to
// be shown on: that costs one question, and one more connection.
func TestSettingTheClockEndsNoConnection(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	for _, store := range clockStores[:3] {
		for jump, by := range farther() {
			t.Run(store.name+", "+jump, func(t *testing.T) {
				each(t, []wiring{{}, {ws: true}, {x509: true}}, func(t *testing.T, r *rig) {
					store.prepare(r)
					dev, set := withFastClock(r.device(), 0)
					stop := r.run(dev)
					defer stop()
					r.await(0, time.Minute)
					time.Sleep(10 * time.Minute)
					r.dps.ResetLog()
					set(by(time.Now()))
					time.Sleep(6 * time.Hour)
					again := 0
					if jump == beyond && store.name == "warm" && !r.wiring.x509 {
						again = 1
					}
					assert.Len(t, r.seen(), 1+again)
					assert.Len(t, r.ends, again)
					assert.True(t, r.a.Connected(rigID))
					assert.Equal(t, again, r.asked(), "%v", r.dps.Requests())
					assert.Equal(t, again, r.asked(dpstest.Clock))
					if !r.wiring.x509 {
						assert.GreaterOrEqual(t, len(r.attempts(r.a)), 6, "tokens were renewed")
					}
				})
			})
		}
	}
}

// Where DPS has told nothing, since the device booted from its store, and that is old, nobody knows
// that the clock was right before: the next token is of the wrong time, and costs one question.
func TestSettingBackAClockThatNobodyConfirmedCostsAQuestionAndNoRegistration(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	old := clockStores[3]
	for jump, by := range farther() {
		t.Run(jump, func(t *testing.T) {
			each(t, []wiring{{}, {ws: true}, {x509: true}}, func(t *testing.T, r *rig) {
				old.prepare(r)
				r.reset()
				dev, set := withFastClock(r.device(), 0)
				stop := r.run(dev)
				defer stop()
				r.await(0, time.Minute)
				time.Sleep(10 * time.Minute)
				set(by(time.Now()))
				time.Sleep(6 * time.Hour)
				assert.True(t, r.a.Connected(rigID))
				seen, questions := len(r.seen()), r.asked(dpstest.Clock)
				assert.LessOrEqual(t, seen, 2)
				assert.LessOrEqual(t, questions, 1)
				assert.Equal(t, seen-1, questions)
				assert.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
			})
		})
	}
}

// suspend is a sleep of the whole board: time goes on for the services and for the clock on the
// board, and the monotonic clock stands still. Connections are lost meanwhile.
func (r *rig) suspend(set func(time.Duration), wrong, asleep time.Duration) {
	r.network.SetClockOffset(asleep)
	set(wrong + asleep)
	for _, host := range []string{hubA, r.dps.Endpoint()} {
		r.network.Cut(host)
	}
}

// sleeps are for how long a board is suspended.
var sleeps = []time.Duration{10 * time.Minute, 8 * time.Hour, 9 * 24 * time.Hour}

// A board that is suspended while it is connected, with a right clock or one that DPS has
// corrected, is connected again as soon as after any lost connection.
func TestADeviceIsConnectedAgainAfterASuspension(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	for _, store := range clockStores[:3] {
		for _, wrong := range []time.Duration{0, -2 * time.Hour, -20 * 365 * 24 * time.Hour} {
			for _, asleep := range sleeps {
				t.Run(store.name+", "+wrong.String()+", "+asleep.String(), func(t *testing.T) {
					each(t, []wiring{{}, {ws: true}, {x509: true}}, func(t *testing.T, r *rig) {
						store.prepare(r)
						dev, set := withFastClock(r.device(), wrong)
						stop := r.run(dev)
						defer stop()
						r.await(0, time.Minute)
						time.Sleep(10 * time.Minute)
						r.reset()
						r.suspend(set, wrong, asleep)
						s := r.await(0, time.Minute)
						assert.LessOrEqual(t, s.at, 11*time.Second, "the back-off's first wait")
						time.Sleep(2 * time.Hour)
						assert.Len(t, r.seen(), 1, "and stays so")
						assert.Zero(t, r.asked(dpstest.Register, dpstest.Lookup))
						assert.LessOrEqual(t, r.asked(dpstest.Clock), 1)
					})
				})
			}
		}
	}
}

// A suspension in the middle of a wait makes it no shorter by any clock.
func TestASuspensionShortensNoWait(t *testing.T) {
	t.Cleanup(provisioning.BuiltAt(programBuilt))
	for wait, c := range clockWaits {
		for _, asleep := range sleeps {
			t.Run(wait+", "+asleep.String(), func(t *testing.T) {
				each(t, []wiring{c.wiring}, func(t *testing.T, r *rig) {
					dev, set, stop := r.waitsFor(c)
					defer stop()
					next, tries := c.next(dev.Status()), len(c.tries(r))
					r.suspend(set, 0, asleep)
					time.Sleep(time.Until(next) - time.Nanosecond)
					require.Len(t, c.tries(r), tries)
					r.await(0, 10*time.Minute)
					assert.LessOrEqual(t, r.assigned(), 1, "%v", r.dps.Requests())
					assert.LessOrEqual(t, r.asked(dpstest.Clock), 1)
				})
			})
		}
	}
}
