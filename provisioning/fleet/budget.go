// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
)

// What the zero fields of a [Budget] stand for.
const (
	// DefaultDPSPerMinute is half of what a DPS instance allows: 1,000 registrations a minute, in
	// which status lookups count (Azure docs: "DPS quotas and limits").
	DefaultDPSPerMinute = 500

	// DefaultDPSUnderWay lets that rate through where each registration takes 6 s, two polls
	// included.
	DefaultDPSUnderWay = 50

	// DefaultHubPerSecond is half of what the smallest hub allows, of tier F1, B1 or S1 and one
	// unit: 100 new connections a second (Azure docs: "IoT Hub quotas and throttling").
	DefaultHubPerSecond = 50

	// DefaultHubUnderWay lets that rate through where each connection takes 5 s. Where they hang,
	// for 45 s each at a hub that is gone, ten thousand devices notice that within half an hour.
	DefaultHubUnderWay = 250
)

// A Budget gives turns to the Devices of a process: set it as the Budget of each. Its zero value is
// ready. Its fields must not be changed after its first use, and it must not be copied; its methods
// are safe for concurrent use. It starts no goroutine, and forgets a service of which nobody has
// wanted anything for ten minutes.
//
// For each DPS instance (endpoint and ID scope), and for each hub, it holds
//
//   - until when the service is to be left alone by all: a Retry-After that one device was given,
//     24 h at most, and up to a tenth of that in addition, 30 s at most. A 429 without one, and a
//     quota that is used up, count as 10 s, and as twice that for each in a row, 5 min at most.
//     What goes against one device alone (429005 of a hub) holds for that alone.
//   - how many exchanges may be under way. At a hub the bound; at DPS one, and one more with each
//     that ends, up to the bound, or half as many, four at least, when one ends with a 5xx. After a
//     wait that was asked for it is one, the probe, and then one more with each that ends.
//     Questions for the time do not count in this.
//   - at which rate they may begin.
//
// Those who wait go first come, first served; but of four turns three are for devices that a hub
// has accepted before, in this process or an earlier one, as long as such wait.
//
// Devices that reach the services over different networks should have different Budgets: what is
// wrong with the one network would slow the devices of the other.
type Budget struct {
	// DPSPerMinute is how many exchanges may begin each minute at a DPS instance: registrations
	// with their polls, status lookups and questions for the time. Zero:
	// [DefaultDPSPerMinute]. All processes and devices of an ID scope share the quota: with
	// several processes, give each its part.
	DPSPerMinute float64

	// DPSUnderWay is how many of them may be under way at once. Zero: [DefaultDPSUnderWay].
	DPSUnderWay int

	// HubPerSecond is how many connections to a hub may begin each second. Zero:
	// [DefaultHubPerSecond]. A hub of tier S1 allows max(100, 12 a unit), S2 120 a unit, S3 6,000 a
	// unit, for all of its devices. One that gets more lets them wait, and answers with CONNACK 5.
	HubPerSecond float64

	// HubUnderWay is how many of them may be under way at once. Zero: [DefaultHubUnderWay].
	HubUnderWay int

	mu       sync.Mutex
	services map[name]*service
	swept    time.Time
}

// name is a service's: a hub has no ID scope.
type name struct{ host, scope string }

const (
	forgottenAfter = 10 * time.Minute

	// slack is what of the rate may be made up for: timers fire late.
	slack = 100 * time.Millisecond
)

// Enter implements [provisioning.Budget].
func (b *Budget) Enter(e provisioning.Entrant) *provisioning.Turn {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.service(name{strings.ToLower(e.Host), strings.ToLower(e.IDScope)}, now)
	w := &waiter{ready: make(chan struct{}), clock: e.Clock}
	s.enqueue(w, e.Known)
	s.admit(now)
	t := &provisioning.Turn{Done: func(err error) { b.done(s, w, err) }}
	if !w.admitted {
		t.Ready = w.ready
	}
	return t
}

// service is what is known of one. mu is held.
func (b *Budget) service(n name, now time.Time) *service {
	if now.Sub(b.swept) >= forgottenAfter {
		b.swept = now
		for n, s := range b.services {
			if s.idle(now) {
				delete(b.services, n)
			}
		}
	}
	s := b.services[n]
	if s == nil {
		s = b.newService(n)
		if b.services == nil {
			b.services = make(map[name]*service)
		}
		b.services[n] = s
	}
	s.used = now
	return s
}

func (b *Budget) newService(n name) *service {
	if n.scope != "" {
		return &service{
			owner:    b,
			interval: every(time.Minute, b.DPSPerMinute, DefaultDPSPerMinute),
			most:     orDefault(b.DPSUnderWay, DefaultDPSUnderWay),
			window:   1, least: 4,
		}
	}
	most := orDefault(b.HubUnderWay, DefaultHubUnderWay)
	return &service{
		owner:    b,
		interval: every(time.Second, b.HubPerSecond, DefaultHubPerSecond),
		most:     most, window: most, least: most,
	}
}

// every is the distance of so many events in a time.
func every(in time.Duration, rate, otherwise float64) time.Duration {
	if !(rate > 0) { // also NaN
		rate = otherwise
	}
	return time.Duration(float64(in) / rate)
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// done ends a turn, or gives it up.
func (b *Budget) done(s *service, w *waiter, err error) {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case w.over:
		return
	case !w.admitted:
		s.leave(w)
	default:
		if !w.clock {
			s.underWay--
		}
		s.learn(w, judge(err), now)
	}
	w.over, s.used = true, now
	s.admit(now)
}

// A Load is what goes on at one service.
type Load struct {
	// Host is DPS's endpoint or a hub; IDScope that of DPS, empty of a hub.
	Host, IDScope string

	// Waiting is how many devices wait for their turn. Known is how many of them a hub has
	// accepted before.
	Waiting, Known int

	// UnderWay is how many exchanges are under way; Limit is how many may be.
	UnderWay, Limit int

	// NotBefore is until when the service is left alone, zero if it has not asked for that.
	NotBefore time.Time
}

// Load tells what goes on at the services of which devices have wanted something of late, sorted
// by host and ID scope: why a device is [provisioning.StateQueued].
func (b *Budget) Load() []Load {
	now := time.Now()
	b.mu.Lock()
	defer b.mu.Unlock()
	all := make([]Load, 0, len(b.services))
	for n, s := range b.services {
		known := s.known.Len()
		l := Load{
			Host: n.host, IDScope: n.scope, Waiting: known + s.others.Len(), Known: known,
			UnderWay: s.underWay, Limit: s.window,
		}
		if s.notBefore.After(now) {
			l.NotBefore = s.notBefore
		}
		all = append(all, l)
	}
	slices.SortFunc(all, func(a, b Load) int {
		return cmp.Or(cmp.Compare(a.Host, b.Host), cmp.Compare(a.IDScope, b.IDScope))
	})
	return all
}
