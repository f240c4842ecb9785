// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"fmt"
	"time"
)

// The lives of the certificates that are explored: a short one, so that little can happen in it
// and the exploration comes to an end; a long one, in which delays grow to their caps.
const (
	shortLife = 200 * time.Minute
	longLife  = 20 * time.Hour
)

// certificateWorld is one in which the device has a certificate, and has been well before.
func certificateWorld(name string, last surroundings, bound time.Duration) *exploredWorld {
	return &exploredWorld{
		name: name, grid: 10 * time.Minute, certificates: shortLife, bound: bound,
		phases:   []surroundings{{home: 1}, last},
		restarts: []restart{{}},
	}
}

// The worlds of certificates: each has one way to a new one broken for good.
func namedCertificateWorlds() (all []*exploredWorld) {
	const long = 10 * time.Hour
	all = []*exploredWorld{
		certificateWorld("hub cannot renew",
			surroundings{home: 1, renews: rejecting}, 90*time.Minute),
		certificateWorld("hub is silent about renewals",
			surroundings{home: 1, renews: silent}, 90*time.Minute),
		certificateWorld("renewals fail", surroundings{home: 1, renews: broken}, 90*time.Minute),
		certificateWorld("renewals are to wait", surroundings{
			home: 1, renews: throttling, hubRetryAfter: long,
		}, 90*time.Minute),
		certificateWorld("dps is down, and the hub renews",
			surroundings{home: 1, register: silent, lookup: silent}, time.Hour),
		certificateWorld("dps throttles, and the hub renews", surroundings{
			home: 1, register: throttling, lookup: throttling, dpsRetryAfter: long,
		}, time.Hour),
		certificateWorld("no policy, and the hub renews",
			surroundings{home: 1, noPolicy: true}, time.Hour),
		certificateWorld("hub is down, and dps issues",
			surroundings{hubs: [2]way{silent, fine}, home: 1}, 90*time.Minute),
		certificateWorld("hub is down, and dps moves the device",
			surroundings{hubs: [2]way{silent, fine}, home: 2}, 90*time.Minute),
		certificateWorld("clock says new", surroundings{home: 1, clock: wrongDates}, time.Hour),
	}
	fast := certificateWorld("clock says expired",
		surroundings{home: 1, clock: wrongDates}, time.Hour)
	fast.ahead = true
	other := certificateWorld("expired, and the hub takes another credential", surroundings{
		home: 1, register: silent, lookup: silent, renews: broken,
	}, time.Hour)
	other.otherwise = true
	sleeper := certificateWorld("certificate, two minutes at a time",
		surroundings{home: 1, renews: broken}, 90*time.Minute)
	sleeper.sleeper, sleeper.sleepBound = true, 90*time.Minute
	return append(all, fast, other, sleeper)
}

// everyCertificateWorld is all worlds with a certificate in which at most so many paths are not
// well.
func everyCertificateWorld(faults int) (all []*exploredWorld) {
	const long = 10 * time.Hour
	issuers := []dpsWays{
		{}, {mqtt: true}, {silent, silent, false, 0}, {broken, broken, false, 0},
		{throttling, throttling, false, long}, {rejecting, rejecting, false, 0},
		{silent, fine, true, 0},
	}
	for _, hub := range [...]way{fine, silent, rejecting, flapping} {
		for _, renews := range [...]way{fine, silent, broken, throttling, rejecting} {
			for _, d := range issuers {
				for variant := range 6 {
					s := surroundings{
						hubs: [2]way{hub, fine}, home: 1, lookup: d.lookup, register: d.register,
						renews: renews, noPolicy: variant%2 == 1, hubRetryAfter: long,
						dpsRetryAfter: d.retryAfter,
					}
					if variant >= 2 {
						s.clock = wrongDates
					}
					w := certificateWorld(certificateName(&s, d.mqtt, variant >= 4), s, 4*time.Hour)
					w.mqtt, w.ahead, w.certificates = d.mqtt, variant >= 4, longLife
					if countFaults(&s) <= faults {
						all = append(all, w)
					}
				}
			}
		}
	}
	return all
}

func certificateName(s *surroundings, mqtt, ahead bool) string {
	name := fmt.Sprintf("certificate, %v, renews %v", s, s.renews)
	for part, says := range map[string]bool{
		", no policy": s.noPolicy, ", mqtt": mqtt, ", ahead": ahead,
	} {
		if says {
			name += part
		}
	}
	return name
}

func countFaults(s *surroundings) (n int) {
	for _, wrong := range [...]bool{
		s.hubs[0] != fine, s.renews != fine, s.clock != clockRight, s.noPolicy,
		s.lookup != fine || s.register != fine,
	} {
		if wrong {
			n++
		}
	}
	return n
}
