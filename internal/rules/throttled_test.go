// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

func TestAHubThatThrottlesIsAnOutageAfterADay(t *testing.T) {
	s := warm(t)
	for range 24 {
		s.throttled(time.Hour)
		require.Equal(t, s.state.Outage.Since.Add(24*time.Hour), s.state.DPS.At)
		s.waitHub()
	}
	require.Equal(t, UnderWay, s.state.DPS.Phase)
	require.Equal(t, StatusLookup, s.state.DPS.Request)
	require.Equal(t, ReasonOutage, s.state.DPS.Reason)
}

func TestAHubThatThrottlesAfterADayIsTriedOnceMoreBeforeTheQuestion(t *testing.T) {
	s := warm(t)
	s.fails(retry.Rejected)
	s.now = s.now.Add(25 * time.Hour)
	s.assigned("a")
	s.waitHub()
	s.throttled(time.Minute)
	require.Equal(t, 30*time.Second, s.dpsIn()-s.hubIn())
	at := s.state.DPS.At
	s.waitHub()
	s.throttled(time.Minute)
	require.Equal(t, at, s.state.DPS.At)
}

func TestAHubThatWantsHoursAfterADayPutsTheQuestionOffNoMore(t *testing.T) {
	s := warm(t)
	s.fails(retry.Rejected)
	s.now = s.now.Add(25 * time.Hour)
	s.assigned("a")
	s.waitHub()
	s.throttled(10 * time.Hour)
	require.Equal(t, UnderWay, s.state.DPS.Phase)
}

func TestAfterADayTheHubGoesFirstIfItMayBeTriedWithinTenMinutes(t *testing.T) {
	for longer, want := range map[time.Duration]Phase{0: Waiting, time.Nanosecond: UnderWay} {
		s := warm(t)
		s.fails(retry.Rejected)
		s.now = s.now.Add(25 * time.Hour)
		s.assigned("a")
		s.waitHub()
		s.throttled(10*time.Minute - 30*time.Second - 2500*time.Millisecond + longer)
		require.Equal(t, want, s.state.DPS.Phase)
	}
}

func TestAQuestionAboutAHubThatThrottlesKeepsItsTimeToo(t *testing.T) {
	s := warm(t)
	s.throttled(time.Hour)
	at := s.state.DPS.At
	require.Equal(t, at, s.state.Outage.AskAt)
	s.waitHub()
	s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, at, s.state.DPS.At)
	s.waitHub()
	s.fails(retry.Untrusted)
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn(), "until the hub does worse again")
}

func TestAFailedHubThatNowThrottlesPutsTheQuestionOff(t *testing.T) {
	s := warm(t)
	s.fails(retry.Server)
	s.waitHub()
	s.throttled(time.Hour)
	require.Equal(t, s.state.Outage.Since.Add(24*time.Hour), s.state.DPS.At)

	s = inOutage(t, 1)
	at := s.state.DPS.At
	s.waitHub()
	s.throttled(time.Hour)
	require.Equal(t, at, s.state.DPS.At, "but not once it has been asked about")

	s = warm(t)
	s.feed(HubFailure{Class: retry.Untrusted, Dates: true})
	require.Equal(t, ClockForHub, s.state.DPS.Clock)
	s.feed(ClockAnswered{Clock: ClockUnknown})
	at = s.state.DPS.At
	s.state.Hub.Phase = UnderWay
	s.throttled(time.Hour)
	require.Equal(t, at, s.state.DPS.At, "nor the question for the time")

	s = fresh(t)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	at = s.state.DPS.At
	s.state.Confirmed, s.state.Hub.Phase = assignedTo("a"), UnderWay
	s.state.Hub.Tried.Target = s.state.Confirmed
	s.throttled(time.Hour)
	require.Equal(t, at, s.state.DPS.At, "nor one for another reason")
}

func TestOneHubThatThrottlesDoesNotPutOffTheQuestionAboutTheOther(t *testing.T) {
	s := moved(t)
	s.throttled(time.Minute)
	require.Equal(t, "a", s.waitHub())
	s.fails(retry.Server)
	at := s.state.DPS.At
	require.Equal(t, 22*time.Minute+30*time.Second, s.dpsIn())
	for range 5 {
		if s.waitHub() == "b" {
			s.throttled(time.Minute)
		} else {
			s.fails(retry.Server)
		}
		require.Equal(t, at, s.state.DPS.At)
	}

	s = moved(t)
	s.fails(retry.Server)
	at = s.state.DPS.At
	require.Equal(t, "a", s.waitHub())
	s.throttled(time.Hour)
	require.Equal(t, at, s.state.DPS.At)
	require.Equal(t, "b", s.waitHub())
	s.throttled(time.Hour)
	require.Equal(t, s.state.Outage.Since.Add(24*time.Hour), s.state.DPS.At, "both do")
}

func TestAThrottledHubThatGetsWorseBringsTheQuestionForward(t *testing.T) {
	for _, class := range []retry.Class{retry.Server, retry.Unreachable, retry.Untrusted} {
		drawn(t, 15*time.Minute, 30*time.Minute, func(r Random) time.Duration {
			s := warm(t)
			s.throttled(time.Hour)
			s.waitHub()
			s.draws(r).fails(class)
			return s.dpsIn()
		})
	}
	s := warm(t).staggered(time.Hour)
	s.throttled(time.Hour)
	s.now = s.state.DPS.At.Add(-90 * time.Minute)
	at := s.state.DPS.At
	s.fire()
	s.fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At, "unless it would not come sooner")

	s = warm(t)
	s.fails(retry.Server)
	for range 6 {
		s.waitDPS()
		s.assigned("a")
	}
	at = s.state.DPS.At
	s.waitHub()
	s.fails(retry.Server)
	require.Equal(t, at, s.state.DPS.At, "one that was asked already keeps its distance")
}
