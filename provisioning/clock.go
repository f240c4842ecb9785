package provisioning

import (
	"crypto/tls"
	"runtime/debug"
	"sync"
	"time"
)

// buildTime is when the program was built, RFC 3339. Builds without version control set it with
// -ldflags "-X github.com/rehome-iot/rehome/provisioning.buildTime=2026-01-31T00:00:00Z".
var buildTime string

// skewTolerance is how far the clock may be off before it is corrected. The hub itself tolerates
// five minutes (Azure docs: "Troubleshoot IoT Hub error codes", 401003).
const skewTolerance = time.Minute

// wallClock is the time that tokens and certificates are judged by: the system's, but never before
// a time that has certainly passed, until DPS has told the time; from then on DPS's, carried on by
// the monotonic clock. The system's clock is never set.
//
// It is safe for concurrent use.
type wallClock struct {
	system func() time.Time
	built  time.Time // when the program was built, zero if unknown

	mu     sync.Mutex
	start  time.Time // a reading of the monotonic clock
	floor  time.Time // it was certainly later than this at start
	asked  time.Time // a reading of the monotonic clock, when DPS told the time; zero if it did not
	answer time.Time // what DPS said
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
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

func (c *wallClock) now() time.Time {
	if !c.asked.IsZero() {
		return c.answer.Add(time.Since(c.asked))
	}
	now := c.system().Round(0)
	if past := c.past(); now.Before(past) {
		return past
	}
	return now
}

// past is a time that has certainly been reached.
func (c *wallClock) past() time.Time {
	if c.floor.IsZero() {
		return c.floor
	}
	return c.floor.Add(time.Since(c.start))
}

// remember raises the floor to a time that was read from the store.
func (c *wallClock) remember(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.After(c.floor) {
		c.floor, c.start = t, time.Now()
	}
}

// suspect says that the system's clock cannot be right: it stands before a time that has passed,
// and nobody has corrected it.
func (c *wallClock) suspect() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.asked.IsZero() && c.system().Round(0).Before(c.past())
}

// learn takes the service's word for the time, and says whether the clock was wrong. A time before
// the program was built is nobody's word to believe.
func (c *wallClock) learn(service time.Time) (corrected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off := service.Sub(c.now()); off.Abs() <= skewTolerance || service.Before(c.built) {
		return false
	}
	c.asked, c.answer = time.Now(), service
	return true
}

// offset is how far the corrected time is ahead of the system's, to the second.
func (c *wallClock) offset() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now().Sub(c.system().Round(0)).Round(time.Second)
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
