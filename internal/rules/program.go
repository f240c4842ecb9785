package rules

// apply registers at once, while the current connection stays up.
func (Reprovision) apply(t *transition) {
	if notBefore := later(t.DPS.NotBefore, t.DPS.ManualNotBefore); t.now.Before(notBefore) {
		t.do(ReplyTooSoon{NotBefore: notBefore})
		return
	}
	underWay := t.DPS.Phase == UnderWay
	if underWay && t.DPS.Request == Registration && t.DPS.Clock == ClockForNone {
		t.DPS.Manual = true // the registration under way serves everybody
		return
	}
	why := t.DPS.Reason
	if !t.DPS.Pending() || why == ReasonOutage {
		why = ReasonManual
	}
	if underWay {
		t.do(CancelDPS{})
	}
	t.DPS.Operation = ""
	t.planDPS(t.now, Registration, why)
	t.DPS.Manual = true
}

// manualFailed tells who waits for a registration that it has failed, and says whether that is the end
// of it: the old assignment and connection stay as they were, and only a device with nowhere to go
// asks again by itself.
func (t *transition) manualFailed() (over bool) {
	if !t.DPS.Manual {
		return false
	}
	t.DPS.Manual = false
	t.do(ReplyFailed{})
	if !t.Connected && (t.DPS.Reason != ReasonManual || !t.Target().Known()) {
		return false
	}
	t.disarmDPS()
	if !t.Connected && t.Hub.Phase == Idle {
		t.armHub(t.now)
	}
	return true
}

// apply: what was under way has ended with whoever performed it.
func (Resume) apply(t *transition) {
	t.DPS.Manual = false
	switch {
	case t.DPS.Reason == ReasonManual && t.DPS.Pending():
		t.DPS = DPSTimer{NotBefore: t.DPS.NotBefore, Failures: t.DPS.Failures} // who asked has left
	case t.DPS.Phase == UnderWay:
		t.armDPS(t.now)
	}
	if t.Connected {
		return
	}
	if t.Hub.Phase == UnderWay || t.Hub.Phase == Idle && t.Target().Known() {
		t.armHub(t.now)
	}
	if !t.Target().Known() && !t.DPS.Pending() {
		t.startOver()
	}
}

func (Forget) apply(t *transition) {
	t.Confirmed, t.Candidate = Assignment{}, Assignment{}
	if t.Hub.Phase == UnderWay {
		t.do(CancelConnect{})
	}
	t.Hub.Phase = Idle
	if !t.Connected && !t.DPS.Manual {
		t.disarmDPS()
		t.startOver()
	}
}
