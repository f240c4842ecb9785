// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// The Budget by itself: who has a turn, and when.

var (
	atDPS = provisioning.Entrant{
		RegistrationID: "sensor-1", Host: dps.DefaultEndpoint, IDScope: "0ne00000001",
	}
	atHub = provisioning.Entrant{RegistrationID: "sensor-1", Host: "hub-a.azure-devices.net"}
)

// known is one that a hub has accepted before.
func known(e provisioning.Entrant) provisioning.Entrant { e.Known = true; return e }

func throttledFor(wait time.Duration) error {
	return &dps.Error{Op: "register", Endpoint: dps.DefaultEndpoint, Status: 429, Wait: wait}
}

var inTrouble = &dps.Error{Op: "register", Endpoint: dps.DefaultEndpoint, Status: 503}

func silent() error {
	return &dps.Error{Op: "register", Endpoint: dps.DefaultEndpoint, Err: errors.New("timed out")}
}

// queue is those who have entered a budget, and when their turns came.
type queue struct {
	t      *testing.T
	budget *fleet.Budget
	turns  []*provisioning.Turn
	first  int // that has no end yet
}

func (q *queue) enter(e provisioning.Entrant, n int) {
	for range n {
		q.turns = append(q.turns, q.budget.Enter(e))
	}
}

// come is how many turns have come.
func (q *queue) come() (n int) {
	for _, t := range q.turns {
		if hasCome(t) {
			n++
		}
	}
	return n
}

func hasCome(t *provisioning.Turn) bool {
	if t.Ready == nil {
		return true
	}
	select {
	case <-t.Ready:
		return true
	default:
		return false
	}
}

// end ends the next n exchanges in the order in which they entered.
func (q *queue) end(n int, err error) {
	q.t.Helper()
	for range n {
		require.True(q.t, hasCome(q.turns[q.first]), "exchange %d is under way", q.first)
		q.turns[q.first].Done(err)
		q.first++
	}
}

func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// wait lets time pass, and everything happen that falls due.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestAfterARetryAfterOneProbesAndTheOthersFollowInGrowingNumbers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 100)
		require.Equal(t, 1, q.come(), "one, until it is known that dps answers")
		q.end(1, throttledFor(time.Minute))
		wait(time.Minute - time.Millisecond)
		require.Equal(t, 1, q.come(), "those that wait already wait on")
		q.enter(atDPS, 1)
		require.Equal(t, 1, q.come(), "and who comes now joins them")
		wait(10 * time.Second)
		require.Equal(t, 2, q.come(), "one probes, a tenth later at most")
		wait(time.Hour)
		require.Equal(t, 2, q.come(), "and nobody else before it has ended")
		for _, underWay := range []int{2, 4, 8, 16} {
			q.end(q.come()-q.first, nil)
			wait(10 * time.Second)
			require.Equal(t, underWay, q.come()-q.first)
		}
	})
}

func TestAProbeThatIsThrottledAgainMakesAllWaitAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 10)
		for n := 1; n < 5; n++ {
			require.Equal(t, n, q.come())
			q.end(1, throttledFor(time.Minute))
			wait(time.Minute - time.Second)
			require.Equal(t, n, q.come())
			wait(7 * time.Second)
		}
	})
}

func TestARetryAfterIsHonouredForADay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 2)
		q.end(1, throttledFor(365*24*time.Hour))
		wait(24*time.Hour - time.Second)
		require.Equal(t, 1, q.come())
		wait(time.Minute)
		require.Equal(t, 2, q.come())
	})
}

func TestAThrottleWithoutRetryAfterIsWaitedOutForLongerEachTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 20)
		for n, floor := range []time.Duration{
			10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second,
			160 * time.Second, 5 * time.Minute, 5 * time.Minute,
		} {
			q.end(1, throttledFor(0))
			wait(floor - time.Millisecond)
			require.Equal(t, n+1, q.come(), floor)
			wait(floor/10 + time.Second)
			require.Equal(t, n+2, q.come(), floor)
		}
	})
}

func TestWhatBeganBeforeARetryAfterDoesNotEndIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 100)
		q.end(1, nil)
		wait(time.Second)
		q.end(2, nil)
		wait(time.Second)
		require.Equal(t, 4, q.come()-q.first)
		q.end(1, throttledFor(time.Minute))
		q.end(3, nil) // they were admitted before it
		wait(59 * time.Second)
		require.Zero(t, q.come()-q.first)
		wait(10 * time.Second)
		require.Equal(t, 1, q.come()-q.first)
	})
}

func TestOneScopesWaitIsNoOthersAndNoHubs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &fleet.Budget{}
		b.Enter(atDPS).Done(throttledFor(time.Hour))
		elsewhere := atDPS
		elsewhere.IDScope = "0ne00000002"
		require.Nil(t, b.Enter(elsewhere).Ready)
		require.Nil(t, b.Enter(atHub).Ready)
		inCapitals := atDPS
		inCapitals.IDScope, inCapitals.Host = "0NE00000001", "GLOBAL.azure-devices-provisioning.net"
		require.NotNil(t, b.Enter(inCapitals).Ready, "names of hosts and scopes have no case")
	})
}

func TestTheRateHoldsWhateverIsUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{HubPerSecond: 20, HubUnderWay: 1000}}
		q.enter(atHub, 500)
		for second := 1; second <= 10; second++ {
			q.end(q.come()-q.first, nil)
			before := q.come()
			wait(time.Second)
			q.end(q.come()-q.first, nil)
			require.InDelta(t, 20, q.come()-before, 3)
		}
	})
}

func TestWhileDPSIsInTroubleFewerGoAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{DPSPerMinute: 60000}}
		q.enter(atDPS, 1000)
		for range 7 {
			q.end(q.come()-q.first, nil)
			wait(time.Second)
		}
		require.Equal(t, fleet.DefaultDPSUnderWay, q.come()-q.first)
		q.end(1, inTrouble)
		q.end(9, inTrouble) // of the same round: the same news
		wait(time.Second)
		require.Equal(t, 40, q.come()-q.first, "they are above the half")
		for range 10 {
			q.end(q.come()-q.first, inTrouble)
			wait(time.Second)
		}
		require.Equal(t, 4, q.come()-q.first)
	})
}

// A port may be closed, and each device has to find out by itself that another one is open.
func TestSilenceHoldsUpNobodyForLong(t *testing.T) {
	bubble(t, func(t *testing.T) {
		q := &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atDPS, 1000)
		for range 7 {
			q.end(q.come()-q.first, silent())
			wait(30 * time.Second)
		}
		require.Equal(t, fleet.DefaultDPSUnderWay, q.come()-q.first)

		q = &queue{t: t, budget: &fleet.Budget{}}
		q.enter(atHub, 1000)
		wait(time.Minute)
		require.Equal(t, fleet.DefaultHubUnderWay, q.come(), "at a hub nobody waits for the first")
		q.end(100, &hubconn.Error{Op: "dial", Class: hubconn.Server, Status: 503})
		wait(time.Minute)
		require.Equal(t, fleet.DefaultHubUnderWay, q.come()-q.first)
	})
}

func TestDevicesThatWereConnectedBeforeGoFirstButNotAlways(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &fleet.Budget{DPSUnderWay: 1}
		current := b.Enter(atDPS)
		waiting := map[string]*provisioning.Turn{}
		for i := range 4 {
			waiting[fmt.Sprint("new ", i)] = b.Enter(atDPS)
		}
		for i := range 6 {
			waiting[fmt.Sprint("known ", i)] = b.Enter(known(atDPS))
		}
		var order []string
		for len(waiting) > 0 {
			current.Done(nil)
			wait(time.Second)
			for name, turn := range waiting {
				if hasCome(turn) {
					order, current = append(order, name), turn
					delete(waiting, name)
				}
			}
		}
		require.Equal(t, []string{
			"known 0", "known 1", "new 0", "known 2", "known 3", "known 4", "new 1", "known 5",
			"new 2", "new 3",
		}, order)
	})
}

func TestWhoGivesUpLeavesNoGap(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &fleet.Budget{DPSUnderWay: 1}
		first, second, third := b.Enter(atDPS), b.Enter(atDPS), b.Enter(atDPS)
		second.Done(context.Canceled)
		second.Done(context.Canceled) // once more does no harm
		first.Done(context.Canceled)
		wait(time.Second)
		require.True(t, hasCome(third))
		require.False(t, hasCome(second))
		require.Equal(t, []fleet.Load{{
			Host: dps.DefaultEndpoint, IDScope: "0ne00000001", UnderWay: 1, Limit: 1,
		}}, b.Load())
	})
}

func TestServicesThatNobodyWantsAnyMoreAreForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &fleet.Budget{}
		for i := range 1000 {
			hub := atHub
			hub.Host = fmt.Sprintf("hub-%d.azure-devices.net", i)
			b.Enter(hub).Done(nil)
		}
		b.Enter(atDPS).Done(throttledFor(time.Hour))
		waits := b.Enter(known(atDPS))
		require.Len(t, b.Load(), 1001)
		wait(11 * time.Minute)
		b.Enter(atHub).Done(nil)
		load := b.Load()
		require.Len(t, load, 2)
		require.Equal(t, 1, load[0].Waiting)
		require.Equal(t, 1, load[0].Known)
		require.GreaterOrEqual(t, time.Until(load[0].NotBefore), 49*time.Minute)
		waits.Done(context.Canceled)
		wait(2 * time.Hour)
		b.Enter(atHub).Done(nil)
		require.Len(t, b.Load(), 1)
	})
}

// Many at once, whatever they do: never more under way than may be, and none forgotten.
func TestTheBudgetHoldsUnderAnythingAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := &fleet.Budget{DPSPerMinute: 60000, DPSUnderWay: 7}
		var mu sync.Mutex
		underWay, served := 0, 0
		var all sync.WaitGroup
		for i := range 500 {
			all.Go(func() {
				random := rand.New(rand.NewPCG(1, uint64(i)))
				for range 10 {
					e := atDPS
					e.Known, e.Clock = random.IntN(2) == 0, random.IntN(5) == 0
					turn := b.Enter(e)
					if turn.Ready != nil {
						patience := time.Duration(random.IntN(2000)) * time.Millisecond
						select {
						case <-turn.Ready:
						case <-time.After(patience):
							turn.Done(context.Canceled)
							continue
						}
					}
					place := 1
					if e.Clock { // a question for the time takes none
						place = 0
					}
					mu.Lock()
					underWay += place
					served++
					assert.LessOrEqual(t, underWay, 7)
					mu.Unlock()
					time.Sleep(time.Duration(random.IntN(100)) * time.Millisecond)
					mu.Lock()
					underWay -= place
					mu.Unlock()
					turn.Done([]error{nil, nil, silent(), context.Canceled}[random.IntN(4)])
				}
			})
		}
		all.Wait()
		require.Greater(t, served, 50)
		load := b.Load()
		require.Len(t, load, 1)
		require.Zero(t, load[0].Waiting+load[0].UnderWay)
		require.Nil(t, b.Enter(atDPS).Ready)
	})
}

// What the end of an exchange says of its service.
func TestOnlyWhatTheServiceSaysToAllHoldsForAll(t *testing.T) {
	const day = 24 * time.Hour
	hub := func(class hubconn.Class, status, code int, wait time.Duration) error {
		return &hubconn.Error{Op: "dial", Class: class, Status: status, Code: code, Wait: wait}
	}
	for name, c := range map[string]struct {
		e    provisioning.Entrant
		err  error
		held time.Duration
	}{
		"hub: 429 with Retry-After": {
			atHub, hub(hubconn.Throttled, 429, 429001, time.Hour), time.Hour,
		},
		"hub: 429 without":             {atHub, hub(hubconn.Throttled, 429, 429001, 0), 10 * time.Second},
		"hub: its quota is used up":    {atHub, hub(hubconn.Throttled, 403, 403002, 0), 10 * time.Second},
		"hub: 503 with Retry-After":    {atHub, hub(hubconn.Server, 503, 503001, time.Hour), time.Hour},
		"hub: 503":                     {atHub, hub(hubconn.Server, 503, 503001, 0), 0},
		"hub: one device's limit":      {atHub, hub(hubconn.Throttled, 429, 429005, time.Hour), 0},
		"hub: no answer":               {atHub, hub(hubconn.Unreachable, 0, 0, 0), 0},
		"hub: its certificate":         {atHub, hub(hubconn.Untrusted, 0, 0, 0), 0},
		"hub: rejected":                {atHub, hub(hubconn.Rejected, 401, 401003, 0), 0},
		"hub: the message is at fault": {atHub, hub(hubconn.Caller, 413, 413001, 0), 0},
		"dps: 429 with Retry-After":    {atDPS, throttledFor(time.Hour), time.Hour},
		"dps: 429 for a year":          {atDPS, throttledFor(365 * day), day},
		"dps: 503 with Retry-After": {
			atDPS, &dps.Error{Endpoint: "dps", Status: 503, Wait: time.Hour}, time.Hour,
		},
		"dps: 503":       {atDPS, &dps.Error{Endpoint: "dps", Status: 503}, 0},
		"dps: no answer": {atDPS, silent(), 0},
		"dps: 401":       {atDPS, &dps.Error{Endpoint: "dps", Status: 401, Code: 401002}, 0},
		"given up":       {atDPS, context.Canceled, 0},
		"wrapped": {
			atDPS, fmt.Errorf("over both transports: %w", throttledFor(time.Hour)), time.Hour,
		},
		"of the program's own": {atDPS, errors.New("no key"), 0},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := &fleet.Budget{}
				b.Enter(c.e).Done(c.err)
				load := b.Load()
				require.Len(t, load, 1)
				if c.held == 0 {
					require.Zero(t, load[0].NotBefore)
					return
				}
				held := time.Until(load[0].NotBefore)
				require.GreaterOrEqual(t, held, c.held)
				require.LessOrEqual(t, held, c.held+min(c.held/10, 30*time.Second))
			})
		})
	}
}
