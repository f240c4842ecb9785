package rules

func (e Assigned) apply(t *transition) {
	a, why, manual := e.Assignment, t.DPS.Reason, t.DPS.Manual
	t.do(Announce{Assignment: a, Moved: !t.InUse().SameAs(a)})
	if e.Stable {
		t.forgetFailures()
	}
	t.DPS.Phase, t.DPS.Manual = Idle, false
	t.DPS.Failures, t.DPS.Operation, t.DPS.corrected = 0, "", false
	if why == ReasonRejected {
		t.Rejections++
	} else {
		// The hub may lag behind DPS: a rejection right after any answer is no reason to ask at
		// once.
		t.Rejections = max(t.Rejections, 1)
	}
	switch {
	case t.Confirmed.SameAs(a):
		t.Confirmed = a
		t.dropCandidate()
		t.remember()
		t.namedAgain(why)
	case t.Candidate.SameAs(a) && !t.Connected:
		t.Candidate = a
		t.remember()
		t.namedAgain(why)
	default:
		t.moveTo(a)
	}
	if manual {
		t.do(ReplyAssigned{Assignment: a}) // last: who asked may rely on what is remembered
	}
}

func (t *transition) remember() {
	t.do(Remember{Confirmed: t.Confirmed, Candidate: t.Candidate})
}

func (t *transition) dropCandidate() {
	if !t.Candidate.Known() {
		return
	}
	t.Candidate = Assignment{}
	if t.Connected {
		return
	}
	if t.Hub.Phase == UnderWay {
		if t.Hub.Tried.Slot != Candidate {
			return
		}
		t.do(CancelConnect{})
	}
	// Whatever the candidate's delay has grown to, the old hub is tried soon.
	t.tryHubSoon()
}

// namedAgain: DPS named the hub that is known already.
func (t *transition) namedAgain(why Reason) {
	switch {
	case t.Connected:
	case why == ReasonOutage:
		t.Outages++
		t.armOutage()
	case t.Hub.Phase == UnderWay:
	case why == ReasonRejected:
		t.tryHubSoon() // the hub may lag behind DPS: soon, but not at once
	case t.Hub.Failures == 0:
		t.armHub(t.now)
	}
}

// moveTo: DPS named another hub or device ID. It is remembered at once, and tried at once; the old
// one is kept until it works.
func (t *transition) moveTo(a Assignment) {
	t.Candidate = a
	t.remember()
	if t.Connected {
		t.Connected = false
		t.do(EndSession{})
	}
	if t.Hub.Phase == UnderWay {
		t.do(CancelConnect{})
	}
	t.Hub.Failures, t.Hub.Turns = 0, 1
	t.Hub.Next = Candidate
	t.Hub.Phase, t.Hub.At = Waiting, later(t.now, t.Hub.NotBefore(a.Hub))
}

// apply: a status lookup found no assignment.
func (NotRegistered) apply(t *transition) {
	t.DPS.Failures = 0
	why := t.DPS.Reason
	if why == ReasonStore {
		why = ReasonUnregistered
	}
	t.planDPS(t.now, Registration, why)
	t.DPS.notFound = true
}

func (e DPSFailed) apply(t *transition) {
	t.DPS.Phase = Idle
	if e.RetryAfter > 0 {
		t.DPS.NotBefore = t.now.Add(e.RetryAfter)
	}
	if !t.clockMayMend(e) {
		t.DPS.ManualNotBefore = t.now.Add(t.Settings.DPS.MinDelay)
		if t.manualFailed() {
			return
		}
	}
	t.DPS.Failures++
	t.DPS.Operation = e.Operation
	switch e.Failure {
	case DPSThrottled:
		t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, e.RetryAfter))
	case DPSClockWrong:
		t.dpsSawWrongClock()
	case DPSClockUnknown:
		if t.DPS.corrected || !t.clockStale() {
			t.retryAtCap()
			return
		}
		t.DPS.Clock, t.DPS.refused = ClockForDPS, true
		t.armDPS(t.now)
	case DPSRefused:
		t.retryAtCap()
	case DPSNotAssigned:
		t.DPS.Request = Registration
		t.retryAtCap()
	default:
		t.dpsUnavailable(e)
	}
}

// dpsUnavailable: the same step again, later.
func (t *transition) dpsUnavailable(e DPSFailed) {
	if e.Dates && t.clockStale() {
		t.DPS.Clock = ClockForDPS
		t.armDPS(t.now)
		return
	}
	lookupLost := e.Silent && t.DPS.Request == StatusLookup && t.DPS.Failures >= MaxSilentLookups
	if lookupLost && t.Settings.LookupElsewhere && !t.Target().Known() {
		// its port may be closed for good, and registering takes another
		t.DPS.Request = Registration
	}
	t.armDPS(t.backOff(t.Settings.DPS, t.DPS.Failures, max(e.RetryAfter, t.Settings.DPS.MinDelay)))
}
