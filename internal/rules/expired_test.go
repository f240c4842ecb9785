// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// expiredAtBoot is a device whose certificate has expired while it was off. Nobody has told it the
// time yet.
func expiredAtBoot(t *testing.T, w Waits) *script { return expiredWith(t, Defaults(), w, middle) }

func expiredWith(t *testing.T, settings Settings, w Waits, r Random) *script {
	s := &script{t: t, now: epochOfScripts, random: r, state: State{Settings: settings}}
	b := Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Waits: w}
	s.state, _ = Apply(s.state, b, s.now, r)
	s.feed(s.pastCertificate())
	return s
}

func (s *script) pastCertificate() Installed {
	return Installed{
		RenewAt: s.now.Add(-9 * time.Hour), RegisterAt: s.now.Add(-5 * time.Hour),
		Expires: s.now.Add(-time.Hour),
	}
}

func TestAnExpiredCertificateGoesToDPSBeforeTheHub(t *testing.T) {
	s := expiredAtBoot(t, Waits{})
	require.Equal(t, []Action{CheckClock{Reason: ReasonExpired}}, s.actions)
	require.Equal(t, ExpiredHold, s.hubIn())
	require.Equal(t, []string{"Register"}, s.feed(ClockAnswered{Clock: ClockRight}))
	require.Equal(t, []Action{Register{Reason: ReasonExpired}}, s.actions)
	require.Equal(t, []string{"Announce", "Remember", "Connect"},
		s.feed(Assigned{Assignment: assignedTo("a"), Issued: true}))
	s.installs()
	s.feed(Connected{})
	require.Equal(t, 16*time.Hour, s.nextByHub())
}

func TestAnExpiryByAWrongClockIsNone(t *testing.T) {
	s := expiredAtBoot(t, Waits{})
	s.state, _ = Apply(s.state, s.certificate(), s.now, middle)
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{Clock: ClockCorrected}))
	s.asksNothing()

	s = expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{})
	require.Equal(t, Waiting, s.state.DPS.Phase)
	require.Equal(t, []string{}, append([]string{}, s.installs()...))
	s.asksNothing()
}

func TestTheHubIsTriedAllTheSameWhereDPSDoesNotAnswer(t *testing.T) {
	s := expiredAtBoot(t, Waits{})
	require.Equal(t, []string{"Connect"}, s.pass(ExpiredHold), "it may take another credential")

	s = expiredAtBoot(t, Waits{})
	require.Equal(t, []string{"Connect"}, s.feed(ClockAnswered{}))

	s = expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, []string{"Connect"}, s.feed(DPSFailed{Failure: DPSUnavailable, Silent: true}))
	require.Equal(t, 7500*time.Millisecond, s.dpsIn(), "which is asked again by its own back-off")

	for name, w := range map[string]Waits{
		"asked":   {DPS: DPSWait{Asked: time.Hour}},
		"gap":     {Renewal: RenewalWait{Gap: 9 * time.Minute}},
		"stagger": {DPS: DPSWait{Planned: true, Reason: ReasonExpired, In: time.Hour}},
	} {
		s = expiredAtBoot(t, w)
		require.Equal(t, UnderWay, s.state.Hub.Phase, name)
		require.NotZero(t, s.nextByDPS(), name)
	}
}

func TestARegistrationForAnExpiredCertificateBeginsEveryTenMinutesAtMost(t *testing.T) {
	s := expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.pass(time.Second)
	s.feed(DPSFailed{Failure: DPSUnavailable})
	require.Equal(t, RenewalGap-time.Second, s.dpsIn())

	s = expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	s.feed(DPSFailed{Failure: DPSThrottled, Operation: "op-1"})
	require.Less(t, s.dpsIn(), time.Minute, "a poll is no attempt")

	s = expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.restarts(time.Second)
	s.feed(s.pastCertificate())
	s.pass(time.Second)
	require.Equal(t, RenewalGap-2*time.Second, s.nextByDPS(), "one that was cut short is")

	s = expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, []string{"Register"}, s.feed(DPSFailed{Failure: DPSClockWrong, Dated: true}),
		"what the clock has spoiled is repeated")
}

func TestAnExpiryWhileTheHubIsAwayLeadsToDPS(t *testing.T) {
	s := certified(t)
	s.pass(15 * time.Hour)
	s.feed(Lost{})
	s.state.Clock.ToldAt = s.now.Add(5 * time.Hour)
	in := s.nextByDPS()
	require.Equal(t, 5*time.Hour, in)
	s.waitHub()
	s.pass(in)
	require.Equal(t, []Action{Register{Reason: ReasonRenewal}}, s.actions, "before it expires")
	s.feed(DPSFailed{Failure: DPSRefused})
	require.Equal(t, time.Hour, s.nextByDPS())
	for range 4 {
		s.pass(s.nextByDPS())
		s.feed(DPSFailed{Failure: DPSRefused})
		if s.state.DPS.Reason == ReasonExpired {
			break
		}
	}
	require.Equal(t, ReasonExpired, s.state.DPS.Reason)
	require.Equal(t, time.Hour, s.dpsIn(), "DPS's refusals hold for it")
}

func TestAnExpiredDeviceThatItsHubAcceptsRenewsThere(t *testing.T) {
	s := expiredAtBoot(t, Waits{})
	s.feed(ClockAnswered{Clock: ClockRight})
	s.feed(DPSFailed{Failure: DPSUnavailable, Operation: "op-1"})
	require.Equal(t, UnderWay, s.state.Hub.Phase)
	require.Empty(t, s.feed(Connected{}))
	s.asksNothing()
	require.Equal(t, RenewalGap, s.nextByHub())
	require.Equal(t, "op-1", s.state.Renewal.Operation)
	require.Equal(t, []string{"RenewCertificate"}, s.pass(RenewalGap))
}

func TestStaggerSpreadsTheQuestionsAboutAnExpiry(t *testing.T) {
	settings := Defaults()
	settings.Stagger = time.Hour
	drawn(t, 0, ClockStagger, func(r Random) time.Duration {
		s := expiredWith(t, settings, Waits{}, r)
		return s.state.DPS.At.Sub(s.now)
	})
	drawn(t, 0, time.Hour, func(r Random) time.Duration {
		s := expiredWith(t, settings, Waits{}, lowest).draws(r)
		state, _ := Apply(s.state, ClockAnswered{Clock: ClockRight}, s.now, r)
		return state.DPS.At.Sub(s.now)
	})
	s := expiredWith(t, settings, Waits{}, lowest)
	s.draws(middle).feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, 30*time.Minute, s.dpsIn())
	s.draws(highest).restarts(10 * time.Minute)
	s.feed(s.pastCertificate())
	require.Equal(t, 20*time.Minute, s.nextByDPS(), "a restart does not draw it anew")
	s.now = s.now.Add(20 * time.Minute)
	require.Contains(t, s.fire(), "CheckClock")
}

func TestAQuestionThatFollowsTheHubNeedNotWhereACertificateHasExpired(t *testing.T) {
	w := Waits{DPS: DPSWait{Planned: true, Reason: ReasonRejected, Operation: "op-1"}}
	s := expiredAtBoot(t, w)
	require.Equal(t, []Action{CheckClock{Reason: ReasonExpired}}, s.actions)
	s.feed(ClockAnswered{Clock: ClockRight})
	require.Equal(t, []Action{Register{Reason: ReasonExpired, Operation: "op-1"}}, s.actions)
}

func TestARegistrationUnderWayIsResumedForWantOfAnEntry(t *testing.T) {
	w := Waits{DPS: DPSWait{Planned: true, Reason: ReasonRenewal, Operation: "op-1"}}
	s := newScript(t, Boot{Next: retry.Register, Waits: w})
	require.Equal(t, []Action{Register{Reason: ReasonBoot, Operation: "op-1"}}, s.actions)
}

// A process that was killed between a certificate's coming and DPS's word about it starts with one
// that no hub has seen, and with the gaps of those that hubs have rejected.
func TestACertificateThatNoHubHasSeenIsShownSoonWhateverWasRejectedBefore(t *testing.T) {
	rejectedFor := Waits{Hubs: []HubWait{{
		Hub: "a", DeviceID: assignedTo("a").DeviceID, Class: retry.Rejected, Failures: 70, Gap: 5,
		GapIn: 50 * time.Minute, In: 50 * time.Minute,
	}}}
	boot := func(fresh bool) *script {
		s := &script{
			t: t, now: epochOfScripts, random: middle, state: State{Settings: Defaults()},
		}
		b := Boot{Next: retry.Wait, Confirmed: assignedTo("a"), Waits: rejectedFor}
		s.state, _ = Apply(s.state, b, s.now, middle)
		installed := s.certificate()
		installed.Fresh = fresh
		s.feed(installed)
		return s
	}
	require.Equal(t, 50*time.Minute, boot(false).hubIn())
	rejectedFor.DPS = DPSWait{Planned: true, Reason: ReasonRejected}
	require.Equal(t, []Action{Register{Reason: ReasonRejected}}, boot(false).actions)
	require.Empty(t, boot(true).actions, "the question was about another, too")
	boot(true).asksNothing()
	rejectedFor.DPS = DPSWait{}
	s := boot(true)
	require.Equal(t, 7500*time.Millisecond, s.hubIn())
	require.Equal(t, []string{"Connect"}, s.pass(s.hubIn()))
	s.rejected()
	require.Greater(t, s.hubIn(), 45*time.Minute, "the gap holds again")
}
