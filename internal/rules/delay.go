package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// The floors and caps of both timers' delays: floor + U(0, min(cap, floor · 2^(n-1))).
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

// Questions about an outage: the first at U(OutageMin, OutageMax) after the hub's first failure, the
// next at twice the distance each time, and never further apart than OutageCap.
const (
	OutageMin     = 15 * time.Minute
	OutageMax     = 30 * time.Minute
	OutageCap     = 24 * time.Hour
	OutageLookups = 2 // so many are lookups; from then on the device registers
)

// RejectionGaps are the distances, each ± GapSpread, at which a device that stays rejected asks DPS: the
// hub may lag behind DPS, and a disabled device must not hammer it.
var RejectionGaps = [...]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
}

// GapSpread is the random part of a gap, and of the wait after DPS has refused the device, as a share
// of it to either side.
const GapSpread = 0.2

const (
	// ClockValid is for how long the time that DPS told is taken for right.
	ClockValid = time.Hour

	// clockPatience is how many clock questions may stay unanswered before a suspect clock no longer
	// keeps a device from registering.
	clockPatience = 3

	// lookupPatience is how many lookups may stay unanswered before a device that registers over
	// another port does so instead.
	lookupPatience = 3

	// rejectedHubTurn is how often a hub that rejected the device is tried while there is a newer
	// assignment: every fourth time.
	rejectedHubTurn = 4
)

// Settings is what does not change while a device runs.
type Settings struct {
	Hub retry.Policy
	DPS retry.Policy

	// Stagger spreads the first request to DPS after an event over U(0, Stagger).
	Stagger time.Duration

	// LookupElsewhere says that a lookup takes another port than a registration does.
	LookupElsewhere bool

	// Tokens says that the device authenticates with tokens, so a wrong clock looks like a wrong key.
	Tokens bool
}

// Defaults are the delays of the package documentation.
func Defaults() Settings {
	return Settings{
		Hub: retry.Policy{MinDelay: HubFloor, MaxDelay: HubCap, Multiplier: 2},
		DPS: retry.Policy{MinDelay: DPSFloor, MaxDelay: DPSCap, Multiplier: 2},
	}
}

// floorOf is how long a hub is left alone after a failure, before jitter.
func (s *Settings) floorOf(f HubFailure) time.Duration {
	switch f.Class {
	case retry.Throttled:
		return f.RetryAfter
	case retry.Untrusted:
		return max(f.RetryAfter, UntrustedFloor, s.Hub.MinDelay)
	}
	return max(f.RetryAfter, s.Hub.MinDelay)
}

func (t *transition) uniform(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(t.random.Float64()*float64(hi-lo))
}

// spread is d ± GapSpread.
func (t *transition) spread(d time.Duration) time.Duration {
	part := time.Duration(GapSpread * float64(d))
	return t.uniform(d-part, d+part)
}

// staggered is when a fleet's device may send its first request after an event.
func (t *transition) staggered() time.Time {
	return t.now.Add(t.uniform(0, t.Settings.Stagger))
}

// hubBackOff and dpsBackOff are when to try again after the n-th failure in a row.
func (t *transition) hubBackOff(n int, floor time.Duration) time.Time {
	return t.now.Add(t.Settings.Hub.Delay(n, floor, t.random.Float64()))
}

func (t *transition) dpsBackOff(floor time.Duration) time.Time {
	return t.now.Add(t.Settings.DPS.Delay(t.DPS.Failures, floor, t.random.Float64()))
}

func (t *transition) rejectionGap() time.Duration {
	return t.spread(RejectionGaps[min(t.Rejections, len(RejectionGaps)-1)])
}

// outageDistance is how long to wait before the next question about a silent hub.
func (t *transition) outageDistance() time.Duration {
	distance := t.uniform(OutageMin, OutageMax)
	for range min(t.Outages, 16) {
		distance *= 2
	}
	return min(distance, OutageCap)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
