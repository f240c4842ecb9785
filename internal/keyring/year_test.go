// SPDX-License-Identifier: Apache-2.0

package keyring_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/keyring"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// A year of a device whose certificates last for an hour: the rules and the ring, with models of
// hub and DPS around them, and a process that is killed at any moment, between any two writes too.

const (
	life = time.Hour
	hub  = "a.example.net"

	// A device is back so long after a way to an accepting hub is there: with a certificate that is
	// valid, after the cap of the hub's back-off; else after that of DPS's, which is an hour.
	backByHub, backByDPS = 20 * time.Minute, 90 * time.Minute
)

// certificate is one that was issued: what its leaf stands for.
type certificate struct {
	from, until, renewAt, registerAt time.Time
}

// year is the device and what is around it.
type year struct {
	t      *testing.T
	random *rand.Rand
	now    time.Time
	issued []certificate

	// of the process
	state rules.State
	ring  *keyring.Ring
	due   map[string]pendingEvent // requests under way, by what they are
	used  int                     // the certificate of the connection

	// what outlives it
	disk     []byte
	assigned bool
	waits    rules.Waits
	savedAt  time.Time

	hubDown, dpsDown      time.Time // until when
	wayThere              time.Time // since when there is a way to an accepting hub; or zero
	connects, renewals    int
	registrations, kills  int
	needless, clocks      int
	valid                 bool // a certificate of the ring is
	longest, longestByDPS time.Duration
}

type pendingEvent struct {
	at   time.Time
	then func()
}

func (y *year) uniform(from, to time.Duration) time.Duration {
	return from + time.Duration(y.random.Int64N(int64(to-from)))
}

// issue makes a certificate, as the service does, with moments as the device draws them.
func (y *year) issue() int {
	c := certificate{from: y.now, until: y.now.Add(life)}
	c.renewAt = y.now.Add(y.uniform(life*60/100, life*80/100))
	c.registerAt = y.now.Add(y.uniform(life*85/100, life*95/100))
	y.issued = append(y.issued, c)
	return len(y.issued) - 1
}

func leafOf(n int) []byte { return fmt.Append(nil, n) }

func (y *year) certificateOf(p keyring.Pair) (n int) {
	_, err := fmt.Sscan(string(p.Chain[0]), &n)
	require.NoError(y.t, err)
	return n
}

// keep writes the ring. A process may be killed before or after any write.
func (y *year) keep() (alive bool) {
	if y.random.IntN(60) == 0 {
		y.kill()
		return false
	}
	data, err := y.ring.Marshal()
	require.NoError(y.t, err)
	y.disk = data
	if y.random.IntN(60) == 0 {
		y.kill()
		return false
	}
	return true
}

// take puts what was issued into the ring.
func (y *year) take(n int) (alive bool) {
	y.ring.Add([][]byte{leafOf(n)})
	return y.keep()
}

func (y *year) installed() rules.Installed {
	if len(y.ring.Pairs) == 0 {
		return rules.Installed{RenewAt: y.now, RegisterAt: y.now, Expires: y.now.AddDate(100, 0, 0)}
	}
	c := y.issued[y.certificateOf(y.ring.Pairs[0])]
	return rules.Installed{
		RenewAt: c.renewAt, RegisterAt: c.registerAt, Expires: c.until,
		Fresh: !y.ring.Pairs[0].Accepted && !y.ring.Pairs[0].Refused,
	}
}

// boot begins a process.
func (y *year) boot() {
	y.due, y.ring, y.used = map[string]pendingEvent{}, &keyring.Ring{}, -1
	if y.disk != nil {
		ring, err := keyring.Parse(y.disk)
		require.NoError(y.t, err)
		y.ring = ring
	}
	y.state = rules.State{Settings: rules.Defaults()}
	y.state.Settings.Tokens = true
	boot := rules.Boot{Next: retry.Register, Waits: y.waits.After(y.now.Sub(y.savedAt))}
	if y.assigned {
		boot.Next = retry.Wait
		boot.Confirmed = rules.Assignment{Hub: hub, DeviceID: "d"}
		s, _ := rules.Apply(y.state, boot, y.now, y.random)
		y.state = s
		y.step(y.installed())
		return
	}
	y.step(boot)
}

func (y *year) kill() {
	y.kills++
	y.boot()
}

func (y *year) step(e rules.Event) { y.decided(rules.Step(y.state, e, y.now, y.random)) }

func (y *year) decided(s rules.State, actions []rules.Action) {
	y.state = s
	y.waits, y.savedAt = s.Waits(y.now), y.now
	for _, a := range actions {
		y.perform(a)
	}
}

func (y *year) later(what string, in time.Duration, then func()) {
	y.due[what] = pendingEvent{y.now.Add(in), then}
}

// pending is the key to ask for a certificate with; it is stored first.
func (y *year) pending() (alive bool) {
	if y.ring.Pending != nil {
		return true
	}
	y.ring.Pending = &keyring.Pending{Key: fmt.Append(nil, "key ", y.random.Uint64())}
	return y.keep()
}

func (y *year) perform(a rules.Action) {
	switch a := a.(type) {
	case rules.Connect:
		y.later("hub", y.uniform(time.Second, 5*time.Second), y.connect)
	case rules.CancelConnect:
		delete(y.due, "hub")
	case rules.Register:
		y.registrations++
		if n := len(y.ring.Pairs); n > 0 {
			c := y.issued[y.certificateOf(y.ring.Pairs[0])]
			if a.Reason != rules.ReasonOutage && y.now.Before(c.from.Add(life*85/100)) {
				y.needless++
			}
		}
		if y.pending() {
			y.later("dps", y.uniform(2*time.Second, 10*time.Second), y.register)
		}
	case rules.Lookup:
		y.later("dps", time.Second, func() { y.step(rules.DPSFailed{Silent: true}) })
	case rules.CheckClock:
		y.clocks++
		y.later("dps", time.Second, func() {
			verdict := rules.ClockRight
			if y.now.Before(y.dpsDown) {
				verdict = rules.ClockUnknown
			}
			y.step(rules.ClockAnswered{Clock: verdict})
		})
	case rules.CancelDPS:
		delete(y.due, "dps")
	case rules.RenewCertificate:
		if y.pending() {
			y.later("renewal", y.uniform(time.Second, 20*time.Second), y.renew)
		}
	case rules.CancelRenewal:
		delete(y.due, "renewal")
	case rules.Remember:
		y.assigned = true
	case rules.EndSession:
		y.used = -1
	default:
		require.NotNil(y.t, a)
	}
}

// connect is the end of an attempt at the hub, with each pair in turn.
func (y *year) connect() {
	if y.now.Before(y.hubDown) {
		y.step(rules.HubFailure{Class: retry.Unreachable})
		return
	}
	for _, p := range y.ring.Pairs {
		n := y.certificateOf(p)
		if y.now.Before(y.issued[n].until) {
			y.connects++
			y.used = n
			if _, changed := y.ring.Accept(leafOf(n)); changed && !y.keep() {
				return
			}
			y.later("stable", 30*time.Second, func() { y.step(rules.Stable{}) })
			y.step(rules.Connected{})
			return
		}
		if y.ring.Refuse(leafOf(n)) && !y.keep() {
			return
		}
	}
	y.step(rules.HubFailure{Class: retry.Rejected})
}

func (y *year) register() {
	if y.now.Before(y.dpsDown) {
		y.step(rules.DPSFailed{Silent: true})
		return
	}
	if !y.take(y.issue()) {
		return
	}
	s, actions := rules.Apply(y.state, rules.Assigned{
		Assignment: rules.Assignment{Hub: hub, DeviceID: "d"}, Dated: true, Issued: true,
	}, y.now, y.random)
	y.decided(s, actions)
	y.step(y.installed())
}

func (y *year) renew() {
	switch y.random.IntN(10) {
	case 0:
		y.step(rules.RenewalFailed{RetryAfter: 5 * time.Minute})
		return
	case 1:
		y.step(rules.RenewalFailed{Silent: true})
		return
	case 2:
		y.lost()
		return
	}
	y.renewals++
	if y.take(y.issue()) {
		y.used = len(y.issued) - 1
		if _, changed := y.ring.Accept(leafOf(y.used)); changed && !y.keep() {
			return
		}
		y.step(rules.Renewed{Installed: y.installed()})
	}
}

func (y *year) lost() {
	delete(y.due, "stable")
	delete(y.due, "renewal")
	y.used = -1
	y.step(rules.Lost{HubFailure: rules.HubFailure{Class: retry.Unreachable}, Stable: true})
}

// surroundings is what happens by itself, once a minute.
func (y *year) surroundings() {
	if y.random.IntN(24*60) == 0 {
		y.hubDown = y.now.Add(y.uniform(10*time.Minute, 6*time.Hour))
		if y.state.Connected {
			y.lost()
		}
	}
	if y.random.IntN(7*24*60) == 0 {
		y.dpsDown = y.now.Add(y.uniform(time.Hour, 3*24*time.Hour))
	}
	if y.random.IntN(9*60) == 0 {
		y.kill()
	}
	if y.state.Connected && y.random.IntN(12*60) == 0 {
		y.lost()
	}
	valid := false
	for _, p := range y.ring.Pairs {
		valid = valid || y.now.Before(y.issued[y.certificateOf(p)].until)
	}
	if y.now.Before(y.hubDown) || !valid && y.now.Before(y.dpsDown) {
		y.wayThere = time.Time{}
	} else if y.wayThere.IsZero() || valid != y.valid {
		y.wayThere = y.now
	}
	y.valid = valid
	if y.state.Connected {
		y.wayThere = y.now
	}
	if !y.wayThere.IsZero() {
		away, limit := y.now.Sub(y.wayThere), backByDPS
		if valid {
			limit = backByHub
			y.longest = max(y.longest, away)
		} else {
			y.longestByDPS = max(y.longestByDPS, away)
		}
		require.Less(y.t, away, limit, "locked out at %v: %+v", y.now, y.state)
	}
}

func TestAYearOfHourlyCertificatesLocksNobodyOut(t *testing.T) {
	seeds := uint64(1)
	if os.Getenv("REHOME_TESTS") == "renewals" {
		seeds = 10
	}
	for seed := range seeds {
		start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		y := &year{t: t, random: rand.New(rand.NewPCG(seed, 7)), now: start}
		y.boot()
		minute := start
		for y.now.Before(start.AddDate(1, 0, 0)) {
			next, what := minute.Add(time.Minute), ""
			for name, p := range y.due {
				if p.at.Before(next) {
					next, what = p.at, name
				}
			}
			if at, ok := y.state.Wake(); ok && at.Before(next) {
				next, what = at, "wake"
			}
			y.now = latest(y.now, next)
			switch what {
			case "":
				minute = y.now
				y.surroundings()
			case "wake":
				y.decided(rules.Fire(y.state, y.now, y.random))
			default:
				then := y.due[what].then
				delete(y.due, what)
				then()
			}
		}
		t.Logf("%d renewals, %d registrations, %d connections, %d kills, %d clock checks; "+
			"longest without the hub though there was a way: %v, by DPS %v",
			y.renewals, y.registrations, y.connects, y.kills, y.clocks, y.longest, y.longestByDPS)
		assert.Greater(t, y.renewals, 5000)
		assert.Zero(t, y.needless, "registrations")
	}
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
