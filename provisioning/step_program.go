package provisioning

func (t *transition) reprovision() {
	if t.now.Before(later(t.dps.hold, t.dps.quiet)) {
		t.do(action{kind: actionReplyHeld})
		return
	}
	if t.dps.busy && t.dps.request == requestRegister && t.dps.clock == clockForNone {
		t.dps.manual = true // the registration under way serves everybody
		return
	}
	why := t.dps.reason
	if !t.dpsPending() || why == reasonOutage {
		why = reasonManual
	}
	if t.dps.busy {
		t.do(action{kind: actionCancelDPS})
	}
	t.dps.operation = ""
	t.askDPS(t.now, requestRegister, why)
	t.dps.manual = true
}

// resume takes up a device that was left in the middle of something.
func (t *transition) resume() {
	t.dps.manual = false
	switch {
	case t.dps.reason == reasonManual && t.dpsPending():
		t.dps = dpsTimer{hold: t.dps.hold, n: t.dps.n} // who asked has left
	case t.dps.busy:
		t.armDPS(t.now)
	}
	if t.connected {
		return
	}
	if t.hub.busy || !t.hub.armed && t.target() != nil {
		t.hub.busy = false
		t.armHub(t.now)
	}
	if t.target() == nil && !t.dpsPending() {
		t.startOver()
	}
}

// forget drops the assignments. A live connection is not touched; when it ends the device registers.
func (t *transition) forget() {
	t.confirmed, t.candidate = nil, nil
	if t.hub.busy {
		t.do(action{kind: actionCancelConnect})
	}
	t.hub.armed, t.hub.busy = false, false
	if !t.connected && !t.dps.manual {
		t.disarmDPS()
		t.startOver()
	}
}

func (t *transition) startOver() {
	t.hub.armed = false
	if !t.dpsPending() {
		t.askDPS(t.staggered(), requestRegister, reasonBoot)
	}
}
