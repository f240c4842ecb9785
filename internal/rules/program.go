package rules

import "github.com/rehome-iot/rehome/retry"

// apply: at the start a connection to a remembered hub needs no request to DPS at all.
func (e Boot) apply(t *transition) {
	t.Confirmed, t.Candidate = e.Confirmed, e.Candidate
	switch {
	case e.Next == retry.Wait && t.Target().Known():
		t.armHub(t.now)
	case e.Next == retry.Lookup:
		t.planDPS(t.staggered(t.Settings.Stagger), StatusLookup, ReasonStore)
	default:
		t.planDPS(t.staggered(t.Settings.Stagger), Registration, ReasonBoot)
	}
}

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
