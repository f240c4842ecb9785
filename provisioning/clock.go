// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// buildTime is when the program was built, RFC 3339. Builds without version control set it with
// -ldflags "-X github.com/rehome-iot/rehome/provisioning.buildTime=2026-01-31T00:00:00Z".
var buildTime string

// skewTolerance is how far the clock may be off before it is corrected. The hub itself tolerates
// five minutes (Azure docs: "Troubleshoot IoT Hub error codes", 401003).
const skewTolerance = time.Minute

// secondAnswerAfter is how far apart two answers must be that turn the clock back below what is
// remembered. The first may come from a peer with an expired certificate that is on the way for a
// moment.
const secondAnswerAfter = time.Minute

// longestSleep is how long a device is believed to have been suspended. A system clock that jumps
// further than this was set.
const longestSleep = 30 * 24 * time.Hour

// wallClock is the time that tokens and certificates are judged by: the system's, corrected by what
// DPS says, but never before a time that has certainly passed. The system's clock is never set.
//
// What has certainly passed is the build of the program and the newest time remembered. An answer
// below the first is nobody's word to believe. One below the second is either a lie, or the time
// remembered was wrong, since a system clock that was fast for a while is remembered too: two
// answers that agree decide. So one peer with an expired certificate does not turn a right clock
// back. Where the system's clock stands before the build, one answer is better than none.
//
// It is safe for concurrent use.
type wallClock struct {
	system func() time.Time
	built  time.Time // when the program was built, zero if unknown

	mu    sync.Mutex
	floor time.Time // it was certainly later than this at start
	start time.Time // a reading of the monotonic clock

	learned bool          // DPS has told the time, and the system's clock was wrong
	ahead   time.Duration // of the system's clock, if learned
	// when ahead was last found to hold, or the system's clock to be right; zero if DPS has not
	// said so, or nobody knows any more
	seen reading

	told   time.Time // when DPS last settled what time it is, by the monotonic clock
	mended time.Time // when that last corrected this clock

	lower   time.Time // DPS's latest answer, if it is below what is remembered; zero if not
	lowerAt reading
}

// reading is one look at both clocks.
type reading struct {
	awake time.Time // by the monotonic clock, which stands still while the device is suspended
	wall  time.Time // by the system's clock, which anybody may set
}

func newWallClock(system func() time.Time) *wallClock {
	if system == nil {
		system = time.Now
	}
	built := timeOfBuild()
	return &wallClock{system: system, built: built, start: time.Now(), floor: built}
}

func timeOfBuild() time.Time {
	if t, err := time.Parse(time.RFC3339, buildTime); err == nil {
		return t
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				t, _ := time.Parse(time.RFC3339, s.Value)
				return t
			}
		}
	}
	return time.Time{}
}

// Now is the corrected time.
func (c *wallClock) Now() time.Time {
	r := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(r)
}

// read is called without the lock, since the system's clock may be the program's own.
func (c *wallClock) read() reading {
	return reading{awake: time.Now(), wall: c.system().Round(0)}
}

func (c *wallClock) now(r reading) time.Time {
	now := r.wall
	switch {
	case c.learned:
		now = c.carriedOn(r)
	case !c.seen.awake.IsZero():
		now = c.stillRight(r)
	}
	if past := c.past(r); now.Before(past) {
		return past
	}
	return now
}

// carriedOn is the time that DPS told, carried on. The monotonic clock misses the time suspended,
// the system's may be set, and a jump of the one against the other looks the same in both cases.
// What is most likely decides, until the next answer of DPS does:
//
//   - The system's clock now agrees with the time as the monotonic clock has carried it on: it was
//     set right, and is followed from now on.
//   - It jumped ahead by no more than a sleep: a sleep. It goes on being as wrong as it was.
//   - It jumped otherwise, to where a sleep may have brought the time: it was set right, and there
//     was a sleep.
//   - It jumped anywhere else: it was set, and not right. The monotonic clock alone counts.
func (c *wallClock) carriedOn(r reading) time.Time {
	awake := c.seen.wall.Add(c.ahead + r.awake.Sub(c.seen.awake))
	jump := r.wall.Add(c.ahead).Sub(awake)
	missed := r.wall.Sub(awake)
	switch {
	case missed.Abs() <= skewTolerance:
		c.learned, c.seen = false, r
	case jump >= -skewTolerance && jump <= longestSleep:
	case missed > 0 && missed <= longestSleep:
		c.learned, c.seen = false, reading{} // that there was a sleep is a guess
	default:
		c.ahead = awake.Sub(r.wall)
	}
	if !c.learned {
		return r.wall
	}
	c.seen = r
	return r.wall.Add(c.ahead)
}

// stillRight is the time by a system's clock that DPS has found to be right. One that jumps back,
// or ahead by more than a sleep, was set and is not right any more: the monotonic clock counts.
// After what may have been a sleep it is as good as before DPS was asked.
func (c *wallClock) stillRight(r reading) time.Time {
	awake := c.seen.wall.Add(r.awake.Sub(c.seen.awake))
	switch jump := r.wall.Sub(awake); {
	case jump.Abs() <= skewTolerance:
		c.seen = r
	case jump > 0 && jump <= longestSleep:
		c.seen = reading{}
	default:
		c.learned, c.ahead, c.seen = true, -jump, r
		return awake
	}
	return r.wall
}

// past is a time that has certainly been reached.
func (c *wallClock) past(r reading) time.Time {
	if c.floor.IsZero() {
		return c.floor
	}
	return c.floor.Add(r.awake.Sub(c.start))
}

// remember raises the floor to a time that was read from the store or written there.
func (c *wallClock) remember(t time.Time) {
	r := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.past(r)) {
		c.floor, c.start = t.Round(0), r.awake
	}
}

// suspect says that the system's clock cannot be right: it stands before a time that has passed,
// and nobody has corrected it.
func (c *wallClock) suspect() bool {
	r := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.now(r) // it may have been set since
	return !c.learned && r.wall.Add(skewTolerance).Before(c.past(r))
}

// learn takes the service's word for the time, the zero time for none, and says whether the clock
// was wrong and has been corrected.
func (c *wallClock) learn(service time.Time) (corrected bool) {
	if service.IsZero() || service.Before(c.built) {
		return false
	}
	r := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	if service.Add(skewTolerance).Before(c.past(r)) {
		if !r.wall.Before(c.built) && !c.confirms(service, r) {
			return false
		}
		c.floor, c.start = service, r.awake // what was remembered was wrong
		c.lower, c.told, c.mended = time.Time{}, r.awake, r.awake
		c.follow(service, r)
		return true
	}
	c.lower, c.told = time.Time{}, r.awake
	corrected = service.Sub(c.now(r)).Abs() > skewTolerance
	if corrected || !c.learned || service.Sub(r.wall).Abs() <= skewTolerance {
		c.follow(service, r)
	}
	if corrected {
		c.mended = r.awake
	}
	return corrected
}

// mendedSince says that a token made at a time may have been wrong: a module's question may correct
// the clock as well as the device's own.
func (c *wallClock) mendedSince(used time.Time) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mendedAfter(used)
}

func (c *wallClock) mendedAfter(used time.Time) bool {
	return !c.mended.IsZero() && !c.mended.Before(used)
}

// since says what DPS has told of the clock of late, to one who used it at a time; ClockUnknown is
// that DPS is to be asked.
func (c *wallClock) since(used time.Time) rules.ClockVerdict {
	suspect := c.suspect()
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.mendedAfter(used):
		return rules.ClockCorrected
	case !c.told.IsZero() && time.Since(c.told) < rules.ClockValid && !suspect:
		return rules.ClockRight
	}
	return rules.ClockUnknown
}

// follow takes a time for right. The system's clock is as good where it agrees, and better later,
// since it knows how long a sleep was.
func (c *wallClock) follow(service time.Time, r reading) {
	c.ahead, c.seen = service.Sub(r.wall), r
	c.learned = c.ahead.Abs() > skewTolerance
}

// confirms says that an answer below what is remembered agrees with the one before it.
func (c *wallClock) confirms(service time.Time, r reading) bool {
	if !c.lower.IsZero() {
		passed, awake := service.Sub(c.lower), r.awake.Sub(c.lowerAt.awake)
		asleep := max(r.wall.Sub(c.lowerAt.wall), awake) // over a sleep, if there was one
		for _, measured := range []time.Duration{awake, asleep} {
			if (passed - measured).Abs() <= skewTolerance {
				return measured >= secondAnswerAfter
			}
		}
	}
	c.lower, c.lowerAt = service, r
	return false
}

// doubts says that DPS's latest answer awaits a second one, and for how long.
func (c *wallClock) doubts() (wait time.Duration, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(secondAnswerAfter-time.Since(c.lowerAt.awake), 0), !c.lower.IsZero()
}

// offset is how far the corrected time is ahead of the system's, to the second.
func (c *wallClock) offset() time.Duration {
	r := c.read()
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now(r).Sub(r.wall).Round(time.Second)
}

// askTime asks DPS for the time, and once more where one answer does not do, on behalf of what used
// the clock at a time.
func (c *core) askTime(
	ctx context.Context, used time.Time,
) (e rules.ClockAnswered, err error) {
	e.Clock, err = c.tellTime(ctx, &e)
	if c.clock.mendedSince(used) { // whoever has done it
		e.Clock = rules.ClockCorrected
	}
	return e, err
}

func (c *core) tellTime(
	ctx context.Context, e *rules.ClockAnswered,
) (rules.ClockVerdict, error) {
	for first := true; ; first = false {
		now, err := c.client.Time(ctx)
		told := !now.IsZero()
		if failure, ok := errors.AsType[*dps.Error](err); told && ok {
			e.Throttled = failure.Status == http.StatusTooManyRequests && failure.Answered()
			e.Unavailable, e.RetryAfter = !e.Throttled, failure.RetryAfter()
		}
		if told && c.clock.learn(now) {
			return rules.ClockCorrected, err
		}
		wait, doubtful := c.clock.doubts()
		switch {
		case told && !doubtful:
			return rules.ClockRight, err
		case !told || !first || err != nil:
			return rules.ClockUnknown, err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return rules.ClockUnknown, ctx.Err() // nobody hears it
		}
	}
}

// tellsTime says that an answer of DPS that bore this date has settled what time it is.
func (c *core) tellsTime(date time.Time) bool {
	_, doubtful := c.clock.doubts()
	return !date.IsZero() && !doubtful
}

// withClock makes tokens and certificates be judged by the corrected time.
func withClock(config *tls.Config, clock *wallClock) *tls.Config {
	if config == nil {
		config = &tls.Config{}
	}
	config = config.Clone()
	config.Time = clock.Now
	return config
}
