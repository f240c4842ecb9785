package provisioning

import (
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
		offset = 26 * 365 * 24 * time.Hour // the system's clock is set at last
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
