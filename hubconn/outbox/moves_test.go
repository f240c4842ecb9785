// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// Days of a device in virtual time: it keeps telemetry and alarms while its link is cut,
// acknowledgements are lost, and its operator moves it from hub to hub and back.
func TestCutsAndMovesBetweenHubsLoseNoMessageAndNoOrder(t *testing.T) {
	cuts, moves := 60, 20
	if os.Getenv("REHOME_TESTS") == "kills" {
		cuts, moves = 1000, 1000
	}
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		a := arrivals{log: &simnet.EventLog{}}
		sim.Network.RecordEvents(a.log)
		box := boxOf(t, open(t, path, Options{Interval: 5 * time.Second}))
		stop := runs(t, sim, box)
		hubs := []*hubtest.Hub{sim.Hub, sim.OtherHub}
		here, sent := 0, 0
		for cut, move := 0, 0; cut < cuts || move < moves; {
			var messages []hubconn.Message
			keep, l := box.Send, telemetry
			if rand.IntN(10) == 0 {
				keep, l = box.SendAlarm, alarms
			}
			for range 1 + rand.IntN(40) {
				body := fmt.Appendf(nil, "%d/%d", l, sent)
				messages = append(messages, hubconn.Message{Body: body})
				sent++
			}
			require.NoError(t, keep(t.Context(), messages...))
			time.Sleep(rand.N(20 * time.Second))
			host := hubs[here].Host()
			switch kind := rand.IntN(cuts + moves - cut - move); {
			case kind < cuts-cut:
				cut++
				switch cut % 3 {
				case 0:
					sim.Network.Cut(host)
				case 1: // in the middle of a delivery; the hub has the message, or has not
					hubs[here].Inject(hubtest.Fault{
						On: hubtest.Publish, Skip: rand.IntN(50), Cut: true, Stored: cut%2 == 0,
					})
				case 2:
					sim.Network.CutAfter(host, rand.IntN(5000))
				}
			default:
				move++
				here = 1 - here
				// Not before it is registered.
				eventually(t, "moved", func() bool {
					return sim.DPS.MoveNow(device, hubs[here].Host()) == nil
				})
			}
			a.collect(t)
		}
		hubs[0].ClearFaults()
		hubs[1].ClearFaults()
		for begin := time.Now(); box.Stats().Kept > 0; time.Sleep(time.Minute) {
			require.Less(t, time.Since(begin), 24*time.Hour, "the device does not come back")
		}
		stop()
		a.collect(t)
		assert.Equal(t, sent, len(a.ids), "lost") // not Len, which prints them all
		s := box.Stats()
		assert.EqualValues(t, sent, s.Accepted)
		assert.EqualValues(t, sent, s.Delivered)
		assert.Zero(t, s.Dropped())
		assert.NotZero(t, a.again)
		assert.GreaterOrEqual(t, s.Resent, uint64(a.again), "each duplicate is counted")
		t.Logf("%d cuts and %d moves: %d messages, %d duplicates, 0 lost, 0 out of order",
			cuts, moves, sent, a.again)
	})
}

// arrivals are the messages that the hubs of a network have had, in the order of their arrival.
type arrivals struct {
	log   *simnet.EventLog
	after uint64
	ids   map[string]string
	last  [lanes]int
	again int
}

// collect reads on, and checks that each lane arrives in its order: what is new comes after all
// that came before.
func (a *arrivals) collect(t *testing.T) {
	t.Helper()
	if a.ids == nil {
		a.ids, a.last = map[string]string{}, [lanes]int{-1, -1}
	}
	for {
		events, missed := a.log.Read(a.after, 1000)
		require.Zero(t, missed)
		if len(events) == 0 {
			return
		}
		for _, e := range events {
			a.after = e.Position
			if e.Kind != simnet.EventTelemetry {
				continue
			}
			body := string(e.Message.Body)
			id := e.Message.System["$.mid"]
			if known, twice := a.ids[body]; twice {
				require.Equal(t, known, id, "another ID at the second delivery")
				a.again++
				continue
			}
			a.ids[body] = id
			l, err := strconv.Atoi(body[:1])
			require.NoError(t, err)
			n, err := strconv.Atoi(body[2:])
			require.NoError(t, err)
			require.Greater(t, n, a.last[l], "lane %d is out of order", l)
			a.last[l] = n
		}
	}
}
