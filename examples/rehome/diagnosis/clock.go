// SPDX-License-Identifier: Apache-2.0

package diagnosis

import (
	"crypto/tls"
	"fmt"
	"runtime/debug"
	"time"
)

// tolerance is how far a clock may be off before the device corrects it.
const tolerance = time.Minute

// clock is the time that tokens and certificates are judged by, as the device does: the system's,
// never before a time that has certainly passed, corrected by what DPS says.
type clock struct {
	system func() time.Time
	past   time.Time // it is later than this
	offset time.Duration
	told   bool // DPS has told the time
}

func newClock(config *tls.Config) *clock {
	c := &clock{system: time.Now}
	if config != nil && config.Time != nil {
		c.system = config.Time
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.time" {
				c.past, _ = time.Parse(time.RFC3339, s.Value)
			}
		}
	}
	return c
}

// remember takes a time that has certainly passed.
func (c *clock) remember(t time.Time) {
	if t.After(c.past) {
		c.past = t
	}
}

// now is the time by which the device judges.
func (c *clock) now() time.Time {
	now := c.system().Add(c.offset)
	if now.Before(c.past) {
		return c.past
	}
	return now
}

// learn takes DPS's word for the time, and says whether the time used was wrong.
func (c *clock) learn(date time.Time) (corrected bool) {
	if date.IsZero() {
		return false
	}
	corrected = date.Sub(c.now()).Abs() > tolerance
	c.told = true
	c.offset = 0
	if ahead := date.Sub(c.system()); ahead.Abs() > tolerance {
		c.offset = ahead
	}
	if date.Before(c.past) {
		c.past = time.Time{} // what was remembered was wrong
	}
	return corrected
}

// step tells what the clock is like.
func (c *clock) step(took time.Duration) Step {
	s := Step{Name: StepClock, Result: OK, Took: took}
	system := c.system().UTC().Truncate(time.Second)
	s.Saw = []string{"system clock " + system.Format(time.RFC3339)}
	switch {
	case c.told && c.offset != 0:
		s.Result = Failed
		s.Saw = append(s.Saw, fmt.Sprintf("%s by the date of dps", offBy(c.offset)),
			"time used: "+c.now().UTC().Truncate(time.Second).Format(time.RFC3339))
		s.Cause = "the system clock is wrong: certificates and tokens are judged by it until dps " +
			"has told the time"
		s.Fix = "set it (ntp, or a battery for the clock); dps corrects the device meanwhile"
	case c.told:
		s.Saw = append(s.Saw, "agrees with the date of dps within a minute")
	case system.Add(tolerance).Before(c.past):
		s.Result = Failed
		s.Saw = append(s.Saw, "time used: "+c.past.UTC().Format(time.RFC3339)+
			", which has certainly passed")
		s.Cause = "the system clock stands before a time that has passed"
		s.Fix = "set it (ntp, or a battery for the clock)"
	default:
		s.Result = Skipped
		s.Cause = "dps has not told the time to compare with"
	}
	return s
}

func offBy(ahead time.Duration) string {
	if ahead > 0 {
		return days(ahead) + " behind"
	}
	return days(-ahead) + " ahead"
}

// days writes long durations so that people can read them.
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d days", int(d.Round(time.Hour).Hours()/24))
}
