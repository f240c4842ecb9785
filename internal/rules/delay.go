package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// The floors and caps of both timers' delays: floor + U(0, min(cap, MinDelay · Multiplier^(n-1))).
// A Retry-After, or UntrustedFloor, takes the place of the floor and leaves the window alone.
const (
	HubFloor = 5 * time.Second
	HubCap   = 5 * time.Minute
	DPSFloor = 5 * time.Second
	DPSCap   = time.Hour

	// UntrustedFloor is that of a hub whose certificate does not verify: nothing mends it soon.
	UntrustedFloor = time.Minute

	// capWindow stands for so many failures that the random window has grown to its cap.
	capWindow = 64
)

// Questions about an outage: the first at U(OutageMin, OutageMax) after the hub's first failure,
// the next at twice the distance each time, and never further apart than OutageCap.
const (
	OutageMin     = 15 * time.Minute
	OutageMax     = 30 * time.Minute
	OutageCap     = 24 * time.Hour
	OutageLookups = 2 // so many are lookups; from then on the device registers
)

// RejectionGaps are the distances, each ± GapSpread, at which a device that stays rejected asks
// DPS: the hub may lag behind DPS, and a disabled device must not hammer it.
var RejectionGaps = [...]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
}

// GapSpread is the random part of a gap, and of the wait after DPS has refused the device, as a
// share of it to either side.
const GapSpread = 0.2

const (
	// ClockValid is for how long the time that DPS told is taken for right.
	ClockValid = time.Hour

	// MaxClockTries is how many clock questions may stay unanswered before a suspect clock no
	// longer keeps a device from registering.
	MaxClockTries = 3

	// MaxSilentLookups is after how many failed lookups, the last without an answer, a device that
	// registers over another port does so instead.
	MaxSilentLookups = 3

	// HubTurn is how often the confirmed hub is tried while there is a newer assignment: every
	// second time; RejectedHubTurn how often, once it has rejected the device.
	HubTurn         = 2
	RejectedHubTurn = 4
)

// Settings is what does not change while a device runs.
type Settings struct {
	Hub retry.Policy
	DPS retry.Policy

	// Stagger spreads the first request to DPS after an event over U(0, Stagger).
	Stagger time.Duration

	// LookupElsewhere says that a lookup takes another port than a registration does.
	LookupElsewhere bool

	// Tokens says that the device authenticates with tokens, so a wrong clock looks like a wrong
	// key.
	Tokens bool
}

// Defaults are the delays of the package documentation.
func Defaults() Settings {
	return Settings{
		Hub: retry.Policy{MinDelay: HubFloor, MaxDelay: HubCap, Multiplier: 2},
		DPS: retry.Policy{MinDelay: DPSFloor, MaxDelay: DPSCap, Multiplier: 2},
	}
}

// floor is how long a hub is left alone after a failure, before jitter.
func (s *Settings) floor(class retry.Class, retryAfter time.Duration) time.Duration {
	switch class {
	case retry.Throttled:
		return retryAfter
	case retry.Untrusted:
		return max(retryAfter, UntrustedFloor, s.Hub.MinDelay)
	}
	return max(retryAfter, s.Hub.MinDelay)
}

// Random is the only source of chance: uniform in [0, 1).
type Random interface{ Float64() float64 }

// draw makes moments in the future of chance.
type draw struct {
	now    time.Time
	random Random
}

func (d draw) uniform(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(d.random.Float64()*float64(hi-lo))
}

// spread is about d from now, by GapSpread more or less.
func (d draw) spread(distance time.Duration) time.Time {
	part := time.Duration(GapSpread * float64(distance))
	return d.now.Add(d.uniform(distance-part, distance+part))
}

// staggered is when a fleet's device may send its first request after an event.
func (d draw) staggered(window time.Duration) time.Time {
	return d.now.Add(d.uniform(0, window))
}

// backOff is when to try again after the n-th failure in a row.
func (d draw) backOff(p retry.Policy, n int, floor time.Duration) time.Time {
	return d.now.Add(p.Delay(n, floor, d.random.Float64()))
}

// rejectionGap is when to ask DPS, after so many of its responses to rejections.
func (d draw) rejectionGap(rejections int) time.Time {
	return d.spread(RejectionGaps[min(rejections, len(RejectionGaps)-1)])
}

// outage is when to ask about a silent hub, after so many questions.
func (d draw) outage(asked int) time.Time {
	distance := d.uniform(OutageMin, OutageMax)
	for range min(asked, 16) {
		distance *= 2
	}
	return d.now.Add(min(distance, OutageCap))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
