// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestADevicesLifeIsToldWithItsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enroll(t, "Kitchen", "hub-a.net")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Code: 429001, RetryAfter: "20"})
		_, err := w.register(t, "Kitchen")
		require.Error(t, err)
		w.look()
		time.Sleep(21 * time.Second)
		_, err = w.register(t, "Kitchen")
		require.NoError(t, err)
		w.look()
		w.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
		_, err = w.connect(t, "hub-a.net", "Kitchen")
		require.Error(t, err)
		time.Sleep(6 * time.Second)
		c, err := w.connect(t, "hub-a.net", "Kitchen")
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, c.Send(t.Context(), hubconn.Message{Body: []byte("x")}))
			time.Sleep(time.Second)
		}
		w.look()
		d, ok := w.Server.fleet.find("kitchen")
		require.True(t, ok)
		assert.True(t, d.Connected)
		require.NoError(t, c.Close())
		synctest.Wait()
		w.look()

		var told []string
		for _, e := range w.history.of("Kitchen", "Kitchen") {
			line := e.What + " " + e.To + " " + e.Outcome + " " + e.Answer
			if e.Wait > 0 {
				line = fmt.Sprintf("[%d ms, %s] ", e.Wait, e.Why) + line
			}
			if e.Count > 0 {
				line += fmt.Sprint(e.Count)
			}
			told = append(told, line)
		}
		assert.Equal(t, []string{
			"register dps refused 429001",
			"[21000 ms, DPS throttles: Retry-After 20] register dps ok 202 assigning",
			"[3000 ms, DPS asked for it: Retry-After 3] poll dps ok 200",
			"assigned hub-a.net ok ",
			"CONNECT hub-a.net refused CONNACK 3",
			"[6000 ms, back-off after CONNACK 3] CONNECT hub-a.net ok CONNACK 0",
			"telemetry hub-a.net ok 3",
			"connection ended hub-a.net ok ",
		}, told)
		d, _ = w.Server.fleet.find("Kitchen")
		assert.Contains(t, d.Error, "hub-a refused CONNECT: CONNACK 3")
		assert.True(t, d.Recovered)
		assert.False(t, d.Connected)
		assert.Equal(t, dpstest.InitialAssignment, d.Substatus)
		assert.Equal(t, dpstest.PolicyStatic, d.Allocation)
	})
}

func TestARequestWithoutAnAnswerIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enroll(t, "kitchen", "hub-a.net")
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Delay: 5 * time.Second})
		done := make(chan error, 1)
		go func() {
			_, err := w.register(t, "kitchen")
			done <- err
		}()
		synctest.Wait()
		w.look()
		assert.Equal(t, silent, w.history.of("kitchen", "kitchen")[0].Outcome)
		require.NoError(t, <-done)
		w.look()
		first := w.history.of("kitchen", "kitchen")[0]
		assert.Equal(t, ok, first.Outcome, "it has been answered since")
		assert.EqualValues(t, 5000, first.Until-first.At)
	})
}

// The logs of DPS and of hubs are read one after the other, so what came last in time may have been
// read first.
func TestTheLastErrorIsTheNewestAndIsOverWhenTheDeviceWorks(t *testing.T) {
	hub := func(at int64, kind, outcome string) event {
		return event{
			At: at, Until: at, Kind: kind, To: "hub-a.net", What: kind, Outcome: outcome,
			Answer: "5",
		}
	}
	dps := func(at int64, outcome string) event {
		return event{
			At: at, Until: at, Kind: kindDPS, To: "dps", What: "register", Outcome: outcome,
		}
	}
	const rejected, throttled = "hub-a refused connect: 5", "DPS refused register: "
	for name, test := range map[string]struct {
		events []event
		text   string
		over   bool
	}{
		"DPS throttled after the hub rejected": {
			[]event{dps(20, refused), hub(10, kindConnect, refused)}, throttled, false,
		},
		"the hub rejected after DPS throttled": {
			[]event{dps(10, refused), hub(20, kindConnect, refused)}, rejected, false,
		},
		"DPS answers, and the hub rejects still": {
			[]event{hub(10, kindConnect, refused), dps(20, ok)}, rejected, false,
		},
		"the hub accepts": {
			[]event{hub(10, kindConnect, refused), hub(20, kindConnect, ok)}, rejected, true,
		},
		"a success that was read before the error it followed": {
			[]event{hub(20, kindConnect, ok), hub(10, kindConnect, refused)}, rejected, true,
		},
		"DPS refuses, and the hub accepts": {
			[]event{dps(10, refused), hub(20, kindConnect, ok)}, throttled, true,
		},
		"the connection ended, and it was assigned": {
			[]event{hub(10, kindConnect, refused), hub(20, kindLost, ok), hub(30, kindMoved, ok)},
			rejected, false,
		},
		"telemetry goes on": {
			[]event{
				hub(5, kindTelemetry, ok), hub(10, kindOperation, refused),
				hub(20, kindTelemetry, ok), dps(30, refused), hub(40, kindTelemetry, ok),
				hub(50, kindTelemetry, ok),
			}, throttled, true,
		},
	} {
		h := history{events: map[string][]event{}, last: map[string]problem{}}
		for _, e := range test.events {
			h.put("kitchen", e)
		}
		p := h.lastError("kitchen", "Kitchen")
		assert.Equal(t, test.text, p.text, name)
		assert.Equal(t, test.over, p.recovered(), name)
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := history{events: map[string][]event{}, last: map[string]problem{}}
	for i := range 10 * maxEvents {
		h.put("one", event{At: int64(i), Kind: kindConnect, Outcome: refused})
	}
	assert.LessOrEqual(t, len(h.events["one"]), maxEvents)
	assert.EqualValues(t, 10*maxEvents-1, h.events["one"][len(h.events["one"])-1].At)
	for i := range maxHistory + 10 {
		h.put(fmt.Sprint("device-", i), event{At: 1, Kind: kindConnect, Outcome: ok})
	}
	assert.Len(t, h.events, maxHistory)
}

func TestOnlyWhatHasChangedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.enroll(t, "kitchen", "hub-a.net")
		require.NoError(t, w.a.Put(hubtest.Device{ID: "by-hand"}))
		w.look()
		changed, gone := w.Server.fleet.read(&w.sim, &w.history)
		assert.Empty(t, changed)
		assert.Empty(t, gone)
		_, err := w.register(t, "kitchen")
		require.NoError(t, err)
		changed, _ = w.Server.fleet.read(&w.sim, &w.history)
		require.Len(t, changed, 1)
		assert.Equal(t, "hub-a.net", changed[0].Hub)
		require.NoError(t, w.dps.MoveNow("kitchen", "hub-b.net"))
		w.a.Delete("by-hand")
		changed, gone = w.Server.fleet.read(&w.sim, &w.history)
		require.Len(t, changed, 1)
		assert.Equal(t, "hub-b.net", changed[0].Hub)
		assert.Equal(t, []string{"by-hand"}, gone)
	})
}
