// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/retry"
)

// life is that of the certificates of these tests.
const life = 24 * time.Hour

// installs tells a device of a certificate that lives for a day from now: renewed by the hub after
// 16 hours, by DPS after 20.
func (s *script) installs() (did []string) {
	s.t.Helper()
	return s.feed(s.certificate())
}

func (s *script) certificate() Installed {
	return Installed{
		RenewAt: s.now.Add(16 * time.Hour), RegisterAt: s.now.Add(20 * time.Hour),
		Expires: s.now.Add(life),
	}
}

// certified is a connected device with a certificate.
func certified(t *testing.T) *script {
	s := connected(t)
	s.installs()
	return s
}

// askedToRenew is a device that has asked its hub for a new certificate.
func askedToRenew(t *testing.T) *script {
	s := certified(t)
	require.Equal(t, []string{"RenewCertificate"}, s.pass(16*time.Hour))
	return s
}

// renewalIn is how far away R's next step is, and whether that is a registration.
func (s *script) renewalIn() (in time.Duration, byDPS bool) {
	s.t.Helper()
	require.Equal(s.t, Waiting, s.state.Renewal.Phase, "no renewal is planned")
	return s.state.Renewal.At.Sub(s.now), s.state.Renewal.ByDPS
}

func (s *script) nextByHub() time.Duration {
	s.t.Helper()
	in, byDPS := s.renewalIn()
	require.False(s.t, byDPS, "DPS is next")
	return in
}

func (s *script) nextByDPS() time.Duration {
	s.t.Helper()
	in, byDPS := s.renewalIn()
	require.True(s.t, byDPS, "the hub is next")
	return in
}

func TestTheHubRenewsACertificateWhenThatIsDue(t *testing.T) {
	s := certified(t)
	require.Equal(t, 16*time.Hour, s.nextByHub())
	at, ok := s.state.Wake()
	require.True(t, ok)
	require.Equal(t, s.now.Add(16*time.Hour), at)
	require.Empty(t, s.pass(16*time.Hour-1))
	require.Equal(t, []string{"RenewCertificate"}, s.pass(1))
	require.Equal(t, UnderWay, s.state.Renewal.Phase)
	s.asksNothing()
	require.Empty(t, s.feed(Renewed{s.certificate()}))
	require.Equal(t, 16*time.Hour, s.nextByHub(), "the new one's time")
}

func TestADeviceWithoutACertificateHasNothingToRenew(t *testing.T) {
	s := connected(t)
	require.Empty(t, s.pass(1000*time.Hour))
	require.Equal(t, RenewalTimer{}, s.state.Renewal)
	s.fails(retry.Rejected)
	s.assigned("a")
	require.Equal(t, RenewalTimer{}, s.state.Renewal)

	s = certified(t)
	require.Empty(t, s.feed(Installed{}))
	require.Empty(t, s.pass(1000*time.Hour), "and one whose certificate was dropped neither")
}

func TestAHubThatFailsToRenewIsAskedAgainLaterAndLater(t *testing.T) {
	for n, d := range []time.Duration{10, 20, 24} { // a tenth of four hours
		drawn(t, d*time.Minute, d*time.Minute+RenewalSpread, func(r Random) time.Duration {
			s := certified(t).draws(r)
			s.pass(16 * time.Hour)
			s.state.Renewal.HubFailures = n
			s.state.Renewal.Certificate.Expires = s.now.Add(4 * time.Hour)
			s.feed(RenewalFailed{})
			return s.nextByHub()
		})
	}
	for left, d := range map[time.Duration]time.Duration{
		30 * life: time.Hour, 5 * time.Hour: 30 * time.Minute, time.Hour: 10 * time.Minute,
	} {
		s := askedToRenew(t)
		s.state.Renewal.HubFailures = 50
		c := &s.state.Renewal.Certificate
		c.Expires = s.now.Add(left)
		c.RegisterAt = c.Expires
		s.draws(lowest).feed(RenewalFailed{})
		require.Equal(t, d, s.nextByHub(), "%v before the end", left)
	}
}

func TestARetryAfterOfTheRenewalIsKept(t *testing.T) {
	s := askedToRenew(t)
	s.draws(lowest).feed(RenewalFailed{RetryAfter: 3 * time.Hour})
	require.Equal(t, 3*time.Hour, s.nextByHub())
	s = askedToRenew(t)
	s.state.Renewal.Certificate.RegisterAt = s.now.Add(1000 * time.Hour)
	s.state.Renewal.Certificate.Expires = s.now.Add(1000 * time.Hour)
	s.draws(lowest).feed(RenewalFailed{RetryAfter: 1000 * time.Hour})
	require.Equal(t, life, s.nextByHub(), "for a day")

	s = askedToRenew(t)
	s.feed(RenewalFailed{RetryAfter: 22 * time.Hour})
	s.pass(4 * time.Hour)
	s.feed(Assigned{Assignment: assignedTo("a"), Issued: true})
	s.installs()
	require.Equal(t, 18*time.Hour, s.nextByHub(), "though DPS has issued one meanwhile")
}

func TestDPSRenewsACertificateThatTheHubHasNot(t *testing.T) {
	s := askedToRenew(t)
	s.feed(RenewalFailed{RetryAfter: 10 * time.Hour})
	require.Equal(t, 4*time.Hour, s.nextByDPS())
	require.Equal(t, []string{"Register"}, s.pass(4*time.Hour))
	require.Equal(t, []Action{Register{Reason: ReasonRenewal}}, s.actions)
	require.True(t, s.state.Connected)
	s.feed(Progress{Operation: "op-1", RetryAfter: 3 * time.Second})
	did := s.feed(Assigned{Assignment: assignedTo("a"), Issued: true})
	require.NotContains(t, did, "EndSession")
	s.installs()
	require.Equal(t, 16*time.Hour, s.nextByHub())
	s.asksNothing()
}

func TestAHubThatWillNotRenewLeavesItToDPSAtOnce(t *testing.T) {
	s := askedToRenew(t)
	require.Empty(t, s.feed(RenewalFailed{Unavailable: true}))
	require.Equal(t, RenewalGap, s.nextByDPS(), "but for the gap")
	require.Equal(t, []string{"Register"}, s.pass(RenewalGap))

	s = askedToRenew(t)
	s.feed(RenewalFailed{Silent: true})
	in := s.nextByHub()
	require.Equal(t, []string{"RenewCertificate"}, s.pass(in))
	s.feed(RenewalFailed{Silent: true})
	require.Equal(t, RenewalGap, s.nextByDPS(), "one that stays silent is no other")
}

func TestBothWaysGoOnInTurn(t *testing.T) {
	for name, first := range map[string]RenewalFailed{
		"unable": {Unavailable: true}, "too late": {RetryAfter: 4 * time.Hour},
	} {
		s := askedToRenew(t)
		s.feed(first)
		ways := map[bool]int{}
		for n := range 12 {
			in, byDPS := s.renewalIn()
			require.Equal(t, n == 0, byDPS && len(ways) == 0, name)
			ways[byDPS]++
			begun := s.now.Add(in)
			s.pass(in)
			s.pass(time.Second)
			if byDPS {
				s.feed(DPSFailed{Failure: DPSUnavailable})
				s.asksNothing()
			} else {
				s.feed(RenewalFailed{})
			}
			require.False(t, s.state.Renewal.At.Before(begun.Add(RenewalGap)), name)
		}
		require.GreaterOrEqual(t, ways[true], 4, name)
		require.GreaterOrEqual(t, ways[false], 4, name)
	}
}

func TestARegistrationThatBroughtNoCertificateIsNotRepeatedWithinTheHour(t *testing.T) {
	drawn(t, time.Hour, time.Hour+RenewalSpread, func(r Random) time.Duration {
		s := askedToRenew(t).draws(r)
		s.feed(RenewalFailed{RetryAfter: 23 * time.Hour})
		s.pass(4 * time.Hour)
		s.assigned("a")
		return s.nextByDPS()
	})
}

func TestTwoAttemptsAtARenewalAreTenMinutesApart(t *testing.T) {
	s := askedToRenew(t)
	s.pass(3 * time.Minute)
	s.feed(Lost{})
	require.Equal(t, RenewalGap-3*time.Minute, s.state.Renewal.GapUntil.Sub(s.now))
	s.restarts(2 * time.Minute)
	c := s.certificate()
	c.RenewAt = s.now.Add(-time.Hour)
	s.feed(c)
	s.waitHub()
	require.Empty(t, s.feed(Connected{}))
	require.Equal(t, 9*time.Minute, s.nextByHub(), "what the loss has asked for")
}

func TestAnEndOfTheConnectionEndsTheQuestionForACertificate(t *testing.T) {
	for name, end := range map[string]Event{
		"lost": Lost{}, "closed": Closed{},
		"moved": Assigned{Assignment: assignedTo("b")},
	} {
		s := askedToRenew(t)
		if name == "moved" {
			s.feed(Reprovision{})
		}
		require.Contains(t, s.feed(end), "CancelRenewal", name)
		require.Equal(t, 1, s.state.Renewal.HubFailures, name)
		before := s.state
		require.Empty(t, s.feed(RenewalFailed{}), "what comes late is not counted")
		require.Equal(t, before.Renewal.HubFailures, s.state.Renewal.HubFailures)
		require.True(t, s.state.Renewal.Known, "a certificate is good for every hub")
	}
}

func TestNothingIsAskedOfDPSWhileAHubIsBrieflyAway(t *testing.T) {
	s := certified(t)
	s.pass(15 * time.Hour)
	s.feed(Lost{})
	s.pass(time.Hour + time.Minute)
	require.Equal(t, 4*time.Hour-time.Minute, s.nextByDPS(), "it is due, and the hub's to do")

	s = certified(t)
	s.feed(Lost{})
	s.waitHub()
	s.now = s.now.Add(20*time.Hour + time.Minute)
	s.feed(Connected{})
	s.feed(Stable{})
	s.feed(RenewalFailed{RetryAfter: time.Minute})
	s.feed(Lost{})
	require.GreaterOrEqual(t, s.nextByDPS(), BootGrace)
	s.waitHub()
	require.Empty(t, s.feed(Connected{}))
	require.NotEqual(t, UnderWay, s.state.DPS.Phase)

	drawn(t, BootGrace, BootGrace+WakeSpread, func(r Random) time.Duration {
		s := warm(t).draws(r)
		s.feed(Installed{Expires: s.now.Add(time.Hour)})
		return s.nextByDPS()
	})
}

func TestACertificateThatIsRenewedElsewhereNeedsNoQuestion(t *testing.T) {
	s := askedToRenew(t)
	s.feed(Reprovision{})
	did := s.feed(Assigned{Assignment: assignedTo("a"), Issued: true})
	require.Contains(t, did, "CancelRenewal")
	s.installs()
	require.Equal(t, 16*time.Hour, s.nextByHub())

	s = certified(t)
	s.state.Settings.Tokens = true
	s.pass(20 * time.Hour)
	s.feed(RenewalFailed{Unavailable: true})
	s.pass(RenewalGap)
	s.feed(DPSFailed{Failure: DPSClockUnknown})
	require.Equal(t, UnderWay, s.state.DPS.Phase)
	s.installs()
	require.Empty(t, s.feed(ClockAnswered{Clock: ClockCorrected}))
	s.asksNothing()
}

func TestReprovisionSharesTheRegistrationOfARenewal(t *testing.T) {
	s := askedToRenew(t)
	s.feed(RenewalFailed{Unavailable: true})
	s.pass(RenewalGap)
	require.Empty(t, s.feed(Reprovision{}))
	require.Empty(t, s.feed(Renew{}))
	did := s.feed(Assigned{Assignment: assignedTo("a"), Issued: true})
	require.Subset(t, did, []string{"ReplyAssigned", "ReplyRenewed"})

	s = askedToRenew(t)
	s.feed(RenewalFailed{Unavailable: true})
	s.pass(RenewalGap)
	s.feed(Reprovision{})
	s.feed(Renew{})
	require.Equal(t, []string{"ReplyRenewalFailed", "ReplyFailed"},
		s.feed(DPSFailed{Failure: DPSUnavailable}))
	require.Equal(t, 1, s.state.Renewal.DPSFailures)
	s.asksNothing()
}

func TestARenewalByDPSThatNamesAnotherHubMovesTheDevice(t *testing.T) {
	s := askedToRenew(t)
	s.feed(RenewalFailed{Unavailable: true})
	s.pass(RenewalGap)
	require.Subset(t, s.feed(Assigned{Assignment: assignedTo("b"), Issued: true}),
		[]string{"Announce", "Remember", "EndSession", "Connect"})
	require.True(t, s.state.Renewal.Known)
}
