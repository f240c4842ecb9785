// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import "time"

// renewing is what is true of the certificate that the service has issued, and of its renewal.
// Times are distances, as in situation.
type renewing struct {
	certified bool
	due       time.Duration // when the question to the hub is answered

	renewIn, registerIn, expiresIn time.Duration // past: 0

	gap   time.Duration // before when no attempt is to begin
	asked time.Duration // for how long the hub is not to be asked for a certificate
	away  time.Duration // for how long a hub that was lost may come back

	easy bool // since this certificate was issued, nothing has changed and nobody interfered
}

// issue gives the device a new certificate.
func (x *exploration) issue(s *situation) {
	life := x.world.certificates
	r := &s.renewing
	r.certified, r.easy = true, x.isLast(s)
	r.renewIn, r.registerIn, r.expiresIn = life*7/10, life*17/20, life
}

// installed is what the device is told of its certificate. By a clock that is wrong it has just
// begun, or expired long ago, as the world's clock is.
func (x *exploration) installed(s *situation) Installed {
	r := s.renewing
	switch {
	case s.wrongClock && x.world.ahead:
		r.renewIn, r.registerIn, r.expiresIn = 0, 0, 0
	case s.wrongClock:
		life := x.world.certificates
		r.renewIn, r.registerIn, r.expiresIn = life*7/10, life*17/20, life
	}
	return Installed{
		RenewAt: epoch.Add(r.renewIn), RegisterAt: epoch.Add(r.registerIn),
		Expires: epoch.Add(r.expiresIn),
	}
}

// certifiedRoots are devices with a certificate of any age before their first start.
func (x *exploration) certifiedRoots(blank situation) (all []situation) {
	x.issue(&blank)
	blank.renewing.easy = false
	blank.stored, blank.mustKeep = [2]byte{1, 0}, 1
	life := x.world.certificates
	for _, age := range [...]time.Duration{0, life * 3 / 4, life * 9 / 10, life} {
		all = append(all, blank.later(age))
	}
	return all
}

// apply lets the device decide about an event without starting what is due.
func (x *exploration) apply(s *situation, elapsed time.Duration, e Event, random Random) {
	state, actions := Apply(s.state, told(e, elapsed), epoch.Add(elapsed), random)
	s.state = state
	for _, a := range actions {
		x.perform(s, a)
	}
}

// told is an event that tells of moments, told some time after the epoch.
func told(e Event, elapsed time.Duration) Event {
	if i, ok := e.(Installed); ok {
		return Installed{
			RenewAt: i.RenewAt.Add(elapsed), RegisterAt: i.RegisterAt.Add(elapsed),
			Expires: i.Expires.Add(elapsed),
		}
	}
	return e
}

// restartsCertified starts a device with a certificate.
func (x *exploration) restartsCertified(
	s *situation, elapsed time.Duration, r restart, boot Boot, random Random,
) {
	s.renewing.due, s.renewing.easy, s.renewing.away = never, false, x.grace()
	if r.power {
		s.renewing.gap, s.renewing.asked = 0, 0
	}
	x.apply(s, elapsed, boot, random)
	i := told(x.installed(s), elapsed).(Installed)
	now := epoch.Add(elapsed)
	mine := &s.state.Renewal
	soon := later(later(mine.DPSAt, mine.GapUntil), s.state.DPS.floor()).Sub(now) <= ExpiredHold
	free := s.state.DPS.Phase == Idle && soon
	first := s.state.Hub
	x.happen(s, elapsed, i, random)
	if i.Expires.After(now) || !free || first.Phase != Waiting {
		return
	}
	if s.hubDue != never {
		x.violated("detour", "the hub is tried with an expired certificate")
	}
	if s.dpsDue == never && s.state.DPS.Phase != Waiting && s.state.Renewal.Phase != Waiting {
		x.violated("detour", "nobody is asked for a certificate")
	}
}

// grace is for how long a hub may be away before DPS is asked in its place.
func (x *exploration) grace() time.Duration {
	if x.world.certificates == 0 {
		return 0
	}
	return BootGrace
}

// askHubToRenew takes a question for a certificate.
func (x *exploration) askHubToRenew(s *situation) {
	r := &s.renewing
	switch {
	case s.connected == 0:
		x.violated("offline", "the hub is asked for a certificate without a connection")
	case r.due != never:
		x.violated("twice", "two questions for a certificate at once")
	case r.asked > 0:
		x.violated("early", "the hub asked for a certificate %v early", r.asked)
	case r.renewIn > 0 && !s.wrongClock:
		x.violated("needless", "a renewal %v before it is due", r.renewIn)
	}
	x.attempt(s)
	r.due = 0
	if x.around(s).renews == silent {
		r.due = silence
	}
}

// attempt begins a renewal.
func (x *exploration) attempt(s *situation) {
	r := &s.renewing
	if r.gap > 0 {
		x.violated("gap", "two attempts at a renewal, the second %v early", r.gap)
	}
	r.gap = RenewalGap
}

// checkRegistration says whether a registration for a certificate has a reason.
func (x *exploration) checkRegistration(s *situation, a Register) {
	r := &s.renewing
	if !a.Reason.renews() {
		return
	}
	if a.Operation == "" && !s.state.DPS.corrected {
		x.attempt(s)
	}
	switch {
	case s.wrongClock:
	case r.renewIn > 0:
		x.violated("needless", "a registration %v before the renewal is due", r.renewIn)
	case s.connected == 0 && r.registerIn > 0:
		x.violated("hasty", "a registration, and the hub has %v left to come back", r.registerIn)
	case s.connected == 0 && r.away > 0 && r.expiresIn > 0:
		x.violated("hasty", "a registration while the hub is briefly away")
	case s.connected != 0 && r.registerIn > 0 && x.around(s).renews == fine && r.easy:
		x.violated("needless", "a registration, and the hub renews")
	case s.connected == 0 && r.expiresIn == 0 && a.Reason != ReasonExpired:
		x.violated("reason", "expired, and said to be due")
	}
}

// checkRenewal holds after every decision.
func (x *exploration) checkRenewal(s *situation) {
	r := &s.renewing
	if (s.state.Renewal.Phase == UnderWay) != (r.due != never) {
		x.violated("disagree", "device and world disagree on the question for a certificate")
	}
	if r.certified && r.easy && r.expiresIn == 0 && x.canIssue(s) {
		x.violated("expired", "though it could be renewed all the time")
	}
}

// lockedOut says that the hub does not take the certificate, nor anything else.
func (x *exploration) lockedOut(s *situation) bool {
	return s.renewing.certified && s.renewing.expiresIn == 0 && !x.world.otherwise
}

// eachRenewal explores what the hub says to who asks for a certificate.
func (x *exploration) eachRenewal(s *situation, in time.Duration) {
	around := x.around(s)
	eachDraw(func(random Random) {
		c := s.later(in)
		c.renewing.due = never
		var e Event
		switch around.renews {
		case fine:
			x.issue(&c)
			e = Renewed{told(x.installed(&c), in).(Installed)}
		case silent:
			e = RenewalFailed{Silent: true}
		case throttling:
			c.renewing.asked = around.hubRetryAfter
			e = RenewalFailed{RetryAfter: around.hubRetryAfter}
		case rejecting:
			e = RenewalFailed{Unavailable: true}
		default:
			e = RenewalFailed{}
		}
		x.happen(&c, in, e, random)
		x.lead(&c, in, true, e)
	})
}

// issues says that an answer of DPS brings a certificate, and gives it to the device.
func (x *exploration) issues(before, c *situation, e Event) bool {
	_, assigned := e.(Assigned)
	if !assigned || before.asking != polling || !c.renewing.certified || x.around(c).noPolicy {
		return false
	}
	x.issue(c)
	return true
}

// noticeRenewal: an attempt of a device that is locked out, and that nobody has heard of, is none.
func (x *exploration) noticeRenewal(before, after *situation, e Event) {
	f, failed := e.(DPSFailed)
	if failed && f.Silent && f.Operation == "" && before.state.DPS.Reason == ReasonExpired &&
		before.connected == 0 {
		after.renewing.gap = 0
	}
}

// canIssue says that somebody issues certificates, whom a device can ask that its hub accepts.
func (x *exploration) canIssue(s *situation) bool {
	around := x.around(s)
	return x.dpsIssues(around) || around.renews == fine && around.hubs[around.home-1] == fine
}

func (x *exploration) dpsIssues(around *surroundings) bool {
	return x.registers(around) && !around.noPolicy
}

// offline says that no hub is ever going to accept the device, so that a certificate is all it can
// have.
func (x *exploration) offline(around *surroundings) bool {
	return around.hubs[0] != fine && (around.home == 1 || around.hubs[1] != fine)
}

// isRenewed says that the device has a certificate that is good for a while, and a connection if
// there is one to be had. Where nobody issues any, the connection is all.
func (x *exploration) isRenewed(s *situation) bool {
	around := x.around(s)
	if !x.isLast(s) || s.wrongClock {
		return false
	}
	fresh := s.renewing.renewIn > 0 || !x.canIssue(s)
	return fresh && (x.offline(around) || s.connected != 0 && around.hubs[s.connected-1] == fine)
}

// mustRenew says that there is a way to a certificate from here: DPS, or a hub that accepts the one
// there is.
func (x *exploration) mustRenew(s *situation) bool {
	around := x.around(s)
	if !x.isLast(s) || s.wrongClock && !x.clockHeals(around) {
		return false
	}
	if x.dpsIssues(around) {
		return true
	}
	accepts := s.connected != 0 || x.world.otherwise || s.renewing.expiresIn > 2*time.Hour
	return !x.offline(around) && accepts
}
