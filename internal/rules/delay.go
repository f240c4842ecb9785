// SPDX-License-Identifier: Apache-2.0

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
)

// What [Throttled] is of every device.
const (
	ThrottledFactor = 3
	ThrottledStart  = 10 * time.Second
	ThrottledCap    = 4 * time.Hour
)

// Throttled says for how long a DPS that throttles is left alone: for Retry-After + U(t, Factor·t),
// where t is how long it has throttled the device already. So a small fleet is through soon, and a
// large one asks seldom enough. The window ends at Factor·Start at least, and at Cap at most; it
// begins at half of Cap at most. Without a Factor, the delay is that of any other failure, as it is
// of a poll, which has a place at DPS already. Only a simulation sets other values.
type Throttled struct {
	Factor     int
	Start, Cap time.Duration
}

// Questions about an outage: the first at U(OutageMin, OutageMax) after the hub's first failure,
// the next at twice the distance each time, and never further apart than OutageCap.
const (
	OutageMin     = 15 * time.Minute
	OutageMax     = 30 * time.Minute
	OutageCap     = 24 * time.Hour
	OutageLookups = 2 // so many are lookups; from then on the device registers

	// ThrottledOutage is after how long a hub that only throttles is an outage too.
	ThrottledOutage = 24 * time.Hour
)

// A hub's name that does not exist is gone after so many tries in a row over such a time: names
// vanish for a moment while a hub fails over.
const (
	NameGoneTries = 3
	NameGoneTime  = 2 * time.Minute
)

// At boot the hub goes first, and a question that an earlier process planned follows its failure
// within U(0, WakeSpread), or BootGrace. What nobody answered is tried again soon after a restart,
// within U(0, RestartHub) and U(0, RestartDPS). A device that does not know any more what it was
// told to wait for spreads its first requests over U(0, UnknownSpread).
const (
	BootGrace     = 30 * time.Second
	WakeSpread    = 30 * time.Second
	RestartHub    = 5 * time.Second
	RestartDPS    = 30 * time.Second
	UnknownSpread = time.Minute
)

// RejectionGaps are the distances, each ± GapSpread, at which a device that stays rejected tries
// the hub and asks DPS: the hub may lag behind DPS, and a disabled device must not hammer either.
// The first rejection asks at once.
var RejectionGaps = [...]time.Duration{
	0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour,
}

// RefusalGaps are the distances, each ± GapSpread, at which a device that was never assigned asks
// a DPS that refuses it: somebody is setting it up. From then on, and for every other device, it is
// DPSCap.
var RefusalGaps = [...]time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute}

const (
	// LagRetries is how many quick tries a hub has after DPS has named it for the first time.
	LagRetries = 3

	// The old hub gives way for U(GiveWayMin, GiveWayMax) to a new one.
	GiveWayMin = 30 * time.Second
	GiveWayMax = time.Minute

	// IncompatibleWait, and up to IncompatibleSpread of it more, is the distance of the questions
	// about a hub that speaks another protocol; AfterDPS is how much later the hub is tried where
	// DPS has not answered.
	IncompatibleWait   = time.Hour
	IncompatibleSpread = 0.2
	AfterDPS           = 10 * time.Minute
)

// The issued certificate: two attempts at its renewal, at the hub or at DPS, begin at least
// RenewalGap apart. A way that has failed is left alone for as long, then twice as long each time,
// up to RenewalCap or a tenth of what is left of the certificate's life; up to RenewalSpread more.
const (
	RenewalGap    = 10 * time.Minute
	RenewalCap    = time.Hour
	RenewalSpread = 2 * time.Minute

	// NoPolicyWait is for how long DPS is left alone that has assigned the device and issued no
	// certificate.
	NoPolicyWait = time.Hour

	// SilentRenewals is how many failures it takes, the last without an answer, until a hub counts
	// as one that does not renew certificates.
	SilentRenewals = 2

	// ExpiredHold is for how long a device whose certificate has expired waits for DPS before it
	// tries its hub all the same, which may take another credential.
	ExpiredHold = 5 * time.Minute
)

// RareGaps is at every how many gaps a module asks about its rejection: about once a day.
const RareGaps = 24

// GapSpread is the random part of a gap, and of the wait after DPS has refused the device, as a
// share of it to either side.
const GapSpread = 0.2

const (
	// ClockValid is for how long the time that DPS told is taken for right.
	ClockValid = time.Hour

	// ClockStagger is the widest window over which clock checks are spread.
	ClockStagger = 10 * time.Minute

	// ClockPatience is how long a device may wait for its next question for the time, if DPS has
	// not been away for longer.
	ClockPatience = 10 * time.Minute

	// MaxClockTries is how many questions for the time may stay unanswered before the device goes
	// on without; MaxClockTriesElsewhere, of one that registers over another port.
	MaxClockTries          = 10
	MaxClockTriesElsewhere = 3

	// MaxSilentLookups is after how many failed lookups, the last without an answer, a device that
	// registers over another port does so instead; MaxFailedLookups, the last with one, any.
	MaxSilentLookups = 3
	MaxFailedLookups = 8
)

// Settings is what does not change while a device runs.
type Settings struct {
	_ [0]func() // as in State

	Hub retry.Policy
	DPS retry.Policy

	// Stagger spreads the first request to DPS after an event over U(0, Stagger). 0: what DPS has
	// said with the assignment.
	Stagger time.Duration

	// LookupElsewhere says that a lookup takes another port than a registration does.
	LookupElsewhere bool

	// Tokens says that the device authenticates with tokens, so a wrong clock looks like a wrong
	// key.
	Tokens bool

	// AfterRejection is what follows when a hub responds with a rejection.
	AfterRejection AfterRejection

	Throttled Throttled
}

// AfterRejection is what a device does whose hub turns it away.
type AfterRejection uint8

// What a device may do whose hub turns it away.
const (
	Reregister       AfterRejection = iota // asks DPS where it belongs
	KeepProbing                            // tries the hub again, at the same gaps
	GiveUpRejected                         // ends
	ReregisterRarely                       // asks DPS at the first gap, then once a day: a module
)

// Defaults are the delays of the package documentation.
func Defaults() Settings {
	return Settings{
		Hub: retry.Policy{MinDelay: HubFloor, MaxDelay: HubCap, Multiplier: 2},
		DPS: retry.Policy{MinDelay: DPSFloor, MaxDelay: DPSCap, Multiplier: 2},
		Throttled: Throttled{
			Factor: ThrottledFactor, Start: ThrottledStart, Cap: ThrottledCap,
		},
	}
}

// floor is how long a hub is left alone after a failure, before jitter.
func (s *Settings) floor(class retry.Class, retryAfter time.Duration) time.Duration {
	retryAfter = min(retryAfter, retry.LongestHonoured)
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

// soon is within a window, which begins now, or at what is left of a wait.
func (d draw) soon(notBefore time.Time, window time.Duration) time.Time {
	return later(d.now, notBefore).Add(d.uniform(0, window))
}

// backOff is when to try again after the n-th failure in a row.
func (d draw) backOff(p retry.Policy, n int, floor time.Duration) time.Time {
	return d.now.Add(p.Delay(n, floor, d.random.Float64()))
}

// throttledUntil is when to ask a DPS again that throttles.
func (t *transition) throttledUntil(retryAfter time.Duration) time.Time {
	d, w := &t.DPS, &t.Settings.Throttled
	if d.ThrottledSince.IsZero() {
		d.ThrottledSince = t.now
	}
	lasted := min(t.now.Sub(d.ThrottledSince), w.Cap)
	window := min(time.Duration(w.Factor)*max(lasted, w.Start), w.Cap)
	if retryAfter == 0 {
		retryAfter = t.Settings.DPS.MinDelay
	}
	return t.now.Add(retryAfter + t.uniform(min(lasted, w.Cap/2), window))
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

// staggeredFrom spreads a planned question over Stagger.
func (t *transition) staggeredFrom(at time.Time) time.Time {
	return at.Add(t.uniform(0, t.Stagger()))
}

// incompatibleUntil is when to ask about a hub that speaks another protocol.
func (d draw) incompatibleUntil() time.Time {
	most := time.Duration((1 + IncompatibleSpread) * float64(IncompatibleWait))
	return d.now.Add(d.uniform(IncompatibleWait, most))
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
