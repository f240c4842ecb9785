// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"slices"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// recorded is what the services were asked. What a service and the way to it have recorded must
// agree.
func (b *bubble) recorded() []line {
	b.t.Helper()
	byName := map[string]int{}
	for i := range b.boards {
		byName[name(i)] = i
	}
	b.checkHubs(byName)
	all := trace{lines: b.trace.sorted()}
	var clock []time.Duration
	requests := b.dps.Requests()
	if n := b.dps.Count(); n != len(requests) {
		b.t.Fatalf("dps was asked %d times, and its log holds %d", n, len(requests))
	}
	for _, r := range requests {
		at := r.Time.Sub(b.began)
		if r.Op == dpstest.Clock { // nothing in the request says whose it is
			clock = append(clock, at)
			continue
		}
		device, ok := byName[r.RegistrationID]
		if !ok {
			b.t.Fatalf("dps was asked by %q", r.RegistrationID)
		}
		kind := map[dpstest.Op]string{
			dpstest.Register: kindRegister, dpstest.Poll: kindPoll, dpstest.Lookup: kindLookup,
		}[r.Op]
		all.add(line{at, device, kind})
	}
	b.checkClock(clock)
	all.lines = append(all.lines, b.clockAsked()...)
	return all.sorted()
}

// checkHubs compares the log of each hub with the connections that were made to it.
func (b *bubble) checkHubs(byName map[string]int) {
	b.t.Helper()
	for _, hub := range b.hubs {
		host := hub.Host()
		arrived := map[line]int{}
		attempts := hub.Attempts()
		for _, a := range attempts {
			at := a.Time.Sub(b.began)
			arrived[line{at, byName[a.DeviceID], kindConnect(host)}]++
		}
		through := b.dialled[host].Load() - b.refused[host].Load()
		if int(through) != len(attempts) {
			b.t.Fatalf("%s: %d connections, %d attempts", host, through, len(attempts))
		}
		for _, l := range b.trace.sorted() {
			if arrived[l] > 0 {
				arrived[l]--
				through--
			}
		}
		if through != 0 {
			b.t.Fatalf("%s: %d attempts arrived later than their connection", host, through)
		}
	}
}

// clockAsked are the questions for the time. One that meets a certificate of another time is asked
// once more, by the time of that, over another connection.
func (b *bubble) clockAsked() []line { return slices.Compact(b.clock.sorted()) }

// checkClock compares the questions for the time that arrived with those that devices sent.
func (b *bubble) checkClock(arrived []time.Duration) {
	b.t.Helper()
	var sent []time.Duration
	for _, l := range b.clockAsked() {
		sent = append(sent, l.at)
	}
	slices.Sort(arrived)
	if !slices.Equal(sent, arrived) {
		b.t.Fatalf("%d questions for the time were sent, %d arrived", len(sent), len(arrived))
	}
}
