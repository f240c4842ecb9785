// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A bubble's clock stands at 2000: a device without a battery.

func TestClockNeverStandsBeforeATimeThatHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newWallClock(nil)
		require.WithinDuration(t, time.Now(), c.Now(), 0)
		require.False(t, c.suspect())
		remembered := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		c.remember(remembered)
		require.Equal(t, remembered, c.Now().UTC())
		require.True(t, c.suspect())
		time.Sleep(time.Hour)
		require.Equal(t, remembered.Add(time.Hour), c.Now().UTC(), "it goes on from there")
		c.remember(remembered.Add(-24 * time.Hour))
		require.Equal(t, remembered.Add(time.Hour), c.Now().UTC(), "and never back")
	})
}

func TestClockTakesTheServicesWordAndKeepsItByMonotonicTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		offset := time.Duration(0)
		c := newWallClock(func() time.Time { return time.Now().Add(offset) })
		require.False(t, c.learn(time.Now().Add(50*time.Second)), "close enough")
		service := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		require.True(t, c.learn(service))
		require.False(t, c.suspect())
		require.Equal(t, time.Until(service).Round(time.Second), c.offset())
		time.Sleep(time.Minute)
		require.Equal(t, service.Add(time.Minute), c.Now().UTC())
		offset = 26 * 365 * 24 * time.Hour // the system's clock is set, but not right
		require.Equal(
			t, service.Add(time.Minute), c.Now().UTC(),
			"a step of the system's clock changes nothing",
		)
	})
}

func TestBuildTimeIsAFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func(s string) { buildTime = s }(buildTime)
		buildTime = "2026-01-31T00:00:00Z"
		c := newWallClock(nil)
		require.Equal(t, time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC), c.Now().UTC())
		require.True(t, c.suspect())
	})
}

func TestClockIsCorrectedInBothDirectionsFromAMinuteOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, off := range []time.Duration{
			-26 * 365 * 24 * time.Hour, -2 * time.Minute, 2 * time.Minute,
		} {
			c := newWallClock(nil)
			service := time.Now().Add(off)
			require.True(t, c.learn(service), off)
			require.Equal(t, service.UTC(), c.Now().UTC())
		}
	})
}

func TestATimeBeforeTheBuildIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func(s string) { buildTime = s }(buildTime)
		buildTime = "2026-01-31T00:00:00Z"
		c := newWallClock(nil)
		require.False(t, c.learn(time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)))
		require.True(t, c.learn(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)))
	})
}

// machine is a device's system clock beside the true time.
type machine struct {
	wrong time.Duration // how far the system's clock is ahead
	slept time.Duration // time that the monotonic clock has missed
}

const days20 = 20 * 24 * time.Hour

func (m *machine) truth() time.Time  { return time.Now().Round(0).Add(m.slept) }
func (m *machine) system() time.Time { return m.truth().Add(m.wrong) }

func (m *machine) requireRight(t *testing.T, c *wallClock, why string) {
	t.Helper()
	require.WithinDuration(t, m.truth(), c.Now(), skewTolerance, why)
}

func TestAFastClockIsCorrectedByOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine{wrong: days20}
		c := newWallClock(m.system)
		require.False(t, c.learn(time.Time{}), "no answer")
		require.True(t, c.learn(m.truth()))
		m.requireRight(t, c, "")
		require.Equal(t, -days20, c.offset())
	})
}

func TestTheOffsetGoesWhenTheSystemsClockIsRightAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine{wrong: -days20}
		c := newWallClock(m.system)
		require.True(t, c.learn(m.truth()))
		m.wrong = 10 * time.Second // by NTP
		require.Zero(t, c.offset())
		m.wrong = 2 * time.Second
		require.Equal(t, m.system(), c.Now(), "it is followed, not the answer")

		m.wrong = days20
		require.True(t, c.learn(m.truth()))
		m.wrong, m.slept = 0, 31*24*time.Hour // set, over a sleep longer than is believed
		require.NotZero(t, c.offset())
		require.True(t, c.learn(m.truth()), "the next answer finds both")
		require.Zero(t, c.offset())
	})
}

func TestBelowWhatIsRememberedTakesTwoAnswersThatAgree(t *testing.T) {
	start := func() (*machine, *wallClock) {
		m := &machine{}
		c := newWallClock(m.system)
		c.remember(m.truth().Add(days20)) // a system clock that was fast, once
		require.True(t, c.suspect())
		return m, c
	}
	synctest.Test(t, func(t *testing.T) {
		m, c := start()
		require.False(t, c.learn(m.truth()))
		require.Equal(t, days20, c.offset())
		time.Sleep(59 * time.Second)
		require.False(t, c.learn(m.truth()), "too soon after the first")
		time.Sleep(time.Second)
		require.True(t, c.learn(m.truth()), "a minute after the first")
		m.requireRight(t, c, "healed")
		require.False(t, c.suspect())
		require.Zero(t, c.offset())
		time.Sleep(time.Hour)
		require.Equal(t, m.system(), c.Now(), "by the system's clock, which is right")
	})
	synctest.Test(t, func(t *testing.T) {
		m, c := start()
		require.False(t, c.learn(m.truth()))
		time.Sleep(time.Minute)
		require.False(t, c.learn(m.truth().Add(-2*time.Hour)), "they do not agree")
		require.Equal(t, days20, c.offset())
		time.Sleep(time.Minute)
		require.False(t, c.learn(m.truth()))
		time.Sleep(time.Minute)
		require.True(t, c.learn(m.truth()))
		m.requireRight(t, c, "the last two do")
	})
	synctest.Test(t, func(t *testing.T) {
		m, c := start()
		require.False(t, c.learn(m.truth()))
		time.Sleep(time.Minute)
		m.slept = 8 * time.Hour
		require.True(t, c.learn(m.truth()), "a sleep in between is no disagreement")
		m.requireRight(t, c, "")
	})
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		c := newWallClock(m.system)
		c.remember(m.truth())
		for range 3 {
			require.False(t, c.learn(m.truth().Add(-days20)), "a lie")
			time.Sleep(time.Minute)
			require.False(t, c.learn(m.truth()), "and what refutes it")
			time.Sleep(time.Minute)
			require.Zero(t, c.offset())
		}
	})
}

func TestASystemClockBeforeTheBuildTakesOneAnswerBelowWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer func(s string) { buildTime = s }(buildTime)
		buildTime = "2026-01-31T00:00:00Z"
		c := newWallClock(nil)
		c.remember(time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC))
		truth := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
		require.False(t, c.learn(time.Date(2026, 1, 30, 0, 0, 0, 0, time.UTC)), "never before it")
		require.True(t, c.learn(truth))
		require.Equal(t, truth, c.Now().UTC())
	})
}

func TestALearntTimeIsRightAfterASleepAndAfterTheSystemsClockWasSet(t *testing.T) {
	const night = 8 * time.Hour
	for _, wrong := range []time.Duration{-26 * 365 * 24 * time.Hour, -days20, -2 * time.Hour,
		-2 * time.Minute, 0, 2 * time.Minute, 2 * time.Hour, days20} {
		for name, happens := range map[string]func(m *machine){
			"nothing":      func(*machine) {},
			"a sleep":      func(m *machine) { m.slept += night },
			"set":          func(m *machine) { m.wrong = 0 },
			"set wrong":    func(m *machine) { m.wrong = -100 * 24 * time.Hour },
			"slewed":       func(m *machine) { m.wrong += 10 * time.Second },
			"short sleeps": func(m *machine) { m.slept += 50 * time.Second },
		} {
			synctest.Test(t, func(t *testing.T) {
				m := machine{wrong: wrong}
				c := newWallClock(m.system)
				c.learn(m.truth())
				for range 100 { // nights, if nights they are
					happens(&m)
					if name == "slewed" && m.wrong > wrong+30*time.Second {
						break
					}
					m.requireRight(t, c, name+", at first wrong by "+wrong.String())
					time.Sleep(time.Hour)
				}
			})
		}
	}
	synctest.Test(t, func(t *testing.T) {
		m := machine{wrong: -26 * 365 * 24 * time.Hour}
		c := newWallClock(m.system)
		c.learn(m.truth())
		m.slept, m.wrong = night, 0
		m.requireRight(t, c, "set, and a sleep, before anybody looked")
	})
}

func TestTheClockMayBeUsedByManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := machine{wrong: days20}
		c := newWallClock(m.system)
		truth := m.truth()
		var all sync.WaitGroup
		for n := range 8 {
			all.Go(func() {
				for range 100 {
					c.remember(truth.Add(time.Duration(n) * time.Hour))
					c.learn(truth)
					_, _ = c.doubts()
					_, _, _ = c.Now(), c.offset(), c.suspect()
				}
			})
		}
		all.Wait()
	})
}

// FuzzClock plays answers, lies, sleeps and changes of the system's clock in any order.
func FuzzClock(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add([]byte{0x50, 1, 0x61, 0, 8, 0, 8, 0x93, 0x34, 0, 0x75, 0, 8, 0})
	f.Add([]byte{5, 0xf5, 0xf7, 2, 0x12, 0x22, 8, 0x32, 0xa4, 0xb4, 0, 8, 0, 3, 0x13, 0x23})
	f.Add([]byte{4, 0x44, 0, 0x43, 7, 0, 0x33, 11}) // a lie, and a step of the clock by as much
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 200 {
			return
		}
		defer func(s string) { buildTime = s }(buildTime)
		buildTime = "1999-06-01T00:00:00Z" // half a year before a bubble begins
		synctest.Test(t, func(t *testing.T) { playClock(t, script) })
	})
}

func playClock(t *testing.T, script []byte) {
	m := &machine{}
	c := newWallClock(m.system)
	for _, b := range script {
		amount := time.Duration(b>>4) * time.Duration(b>>4) * 10 * time.Hour // up to 94 days
		before, past, pending := c.Now(), c.past(c.read()), !c.lower.IsZero()
		answer := time.Time{}
		switch b & 15 {
		case 0, 1:
			answer = m.truth()
		case 2:
			answer = m.truth().Add(-amount)
		case 3:
			answer = m.truth().Add(amount)
		case 4:
			m.wrong = amount
		case 5:
			m.wrong = -amount
		case 6:
			m.slept += amount
		case 7:
			c.remember(c.Now()) // as what is stored is
		case 8:
			time.Sleep(time.Minute)
		case 9:
			time.Sleep(amount)
		case 10:
			m.wrong = -10 * 365 * 24 * time.Hour
		case 11:
			m.wrong = 0
		}
		after := c.Now()
		if !answer.IsZero() {
			corrected := c.learn(answer)
			after = c.Now()
			require.Equal(t, corrected, after.Sub(before).Abs() > skewTolerance, "what learn says")
		}
		require.False(t, after.Before(c.built), "before the program was built")
		if !answer.IsZero() && !pending && !m.system().Before(c.built) {
			require.False(
				t, after.Add(skewTolerance).Before(past), "one answer has lowered it",
			)
		}
	}
	c.learn(m.truth())
	time.Sleep(secondAnswerAfter)
	c.learn(m.truth())
	m.requireRight(t, c, "two answers heal it, whatever was before")
}
