// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Devices that are awake for two minutes at a time ask about a dead hub as others do: soon enough
// to be moved off it, and not at each wake.

// A sleeper is awake for a short while, and then asleep.
const (
	wake = 2 * time.Minute
	nap  = 10 * time.Minute
)

// powers are what the store and the clock of a device are like whose power may be cut while it
// sleeps.
var powers = map[string]func(r *rig, dev *provisioning.Device){
	"asleep": func(*rig, *provisioning.Device) {},
	"power cut": func(_ *rig, dev *provisioning.Device) {
		dev.Store = coldStore{dev.Store.(cache.WaitStore)}
	},
	"power cut, waits without their age": func(_ *rig, dev *provisioning.Device) {
		dev.Store = agelessStore{dev.Store.(cache.WaitStore)}
	},
	"power cut, the clock stands still": func(r *rig, dev *provisioning.Device) {
		dev.Store = coldStore{dev.Store.(cache.WaitStore)}
		stoppedClock(dev, r.start)
	},
	"power cut, waits without their age, the clock stands still": func(
		r *rig, dev *provisioning.Device,
	) {
		dev.Store = agelessStore{dev.Store.(cache.WaitStore)}
		stoppedClock(dev, r.start)
	},
}

// sleep lets the device wake, send and sleep, until it has sent or for so many wakes.
func (r *rig) sleep(wakes int, power func(*rig, *provisioning.Device)) (sent bool) {
	for range wakes {
		dev := r.device()
		power(r, dev)
		err := r.send(dev, wake, hubconn.Message{Body: []byte("reading")})
		if err == nil {
			return true
		}
		if !errors.Is(err, errSlept) {
			require.NoError(r.t, err)
		}
		time.Sleep(nap)
	}
	return false
}

// movedAsleep plays a device that is moved by DPS while its hub fails it, through every kind of
// power cut.
func movedAsleep(t *testing.T, fail func(r *rig)) {
	for name, power := range powers {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.warmed()
				fail(r)
				require.NoError(t, r.dps.MoveNow(rigID, hubB))
				require.True(t, r.sleep(120, power))
				require.Less(t, r.elapsed(), 24*time.Hour)
				require.Len(t, r.b.Messages(), 1)
				require.Empty(t, r.a.Messages())
			})
		})
	}
}

func TestADeviceThatIsAwakeForTwoMinutesAtATimeIsMovedOffADeadHub(t *testing.T) {
	movedAsleep(t, func(r *rig) { r.network.SetFault(hubA, simnet.Refused) })
}

// questions are the times of what DPS was asked and has answered in the end, and how many requests
// were cut by the end of a wake. A clock that stands still is corrected by a first answer, after
// which the request is repeated at once. A response in the last instant of a wake is cut like one
// that is still to come: whether the device reads it before it falls asleep is a matter of chance.
func (r *rig) questions() (answered []time.Duration, cut int) {
	began := map[string]time.Duration{}
	for _, q := range r.dps.Requests() {
		switch at := q.Time.Sub(r.start); {
		case q.Status == http.StatusUnauthorized:
		case q.Op == dpstest.Register:
			began[q.OperationID] = at
		case q.Op == dpstest.Lookup:
			answered = append(answered, at)
		case q.Op == dpstest.Poll && q.Status == http.StatusOK:
			if at%(wake+nap) < wake-time.Millisecond {
				answered = append(answered, began[q.OperationID])
			}
			delete(began, q.OperationID)
		}
	}
	return answered, len(began)
}

func TestAThousandWakesAskNoMoreThanTheDistancesAllow(t *testing.T) {
	for name, power := range powers {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}}, func(t *testing.T, r *rig) {
				r.warmed()
				r.network.SetFault(hubA, simnet.Refused)
				require.False(t, r.sleep(1_000, power))
				at, cut := r.questions()
				require.LessOrEqual(t, cut, 5, "of 1,000: chance; see questions")
				require.GreaterOrEqual(t, len(at), 3)
				distance := 15 * time.Minute
				for i := 1; i < len(at); i++ {
					distance = min(2*distance, 24*time.Hour)
					require.GreaterOrEqual(t, at[i]-at[i-1], distance-time.Minute, "%v", at)
				}
			})
		})
	}
}

func TestADeviceThatIsRestartedEveryTenMinutesIsMovedOffADeadHub(t *testing.T) {
	for _, fault := range []simnet.Fault{simnet.Refused, simnet.Blackhole} {
		t.Run(fault.String(), func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				r.network.SetFault(hubA, fault)
				require.NoError(t, r.dps.MoveNow(rigID, hubB))
				for len(r.seen()) == 0 {
					require.Less(t, r.elapsed(), 24*time.Hour)
					r.life(r.device(), 10*time.Minute)
				}
				require.Equal(t, hubB, r.seen()[0].hub)
				require.Less(t, r.seen()[0].at, 2*time.Hour)
			})
		})
	}
}

// The clock of a device may have to be told, which is no question about the hub.
func TestAnOverdueQuestionIsNotAskedIfTheHubIsWellAgain(t *testing.T) {
	for name, power := range powers {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.warmed()
				r.network.SetFault(hubA, simnet.Refused)
				require.False(t, r.sleep(1, power))
				require.Zero(t, r.asked())
				time.Sleep(12 * time.Hour)
				r.network.SetFault(hubA, simnet.None)
				for range 3 {
					require.True(t, r.sleep(1, power))
					require.Zero(t, r.asked(dpstest.Lookup, dpstest.Register))
					time.Sleep(time.Hour)
				}
				require.Equal(t, strings.Contains(name, "stands still"), r.asked() > 0)
			})
		})
	}
}

// Each wake begins with a question for the time, which must not push the one about the hub away.
func TestADeviceThatIsAwakeForTwoMinutesAtATimeIsMovedOffAHubWithAnExpiredCertificate(
	t *testing.T,
) {
	movedAsleep(t, func(r *rig) { r.network.SetCertificate(hubA, simnet.Expired) })
}
