package provisioning

import (
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/retry"
)

// This file is the whole of the decision: what a device does next, given what it knows and what just happened. It holds no network, file,
// goroutine or clock, so that the rules can be read, explored by a property test and driven by a fleet simulation exactly as a device runs
// them. Device performs the actions; it decides nothing.

// The two timers, H for the hub and D for DPS, are independent: a device that waits for DPS goes on trying the hub it remembers.
type state struct {
	rules rules

	confirmed *known // the assignment that last led to a connection
	candidate *known // what DPS said since; confirmed once it has led to a connection
	connected bool

	hub hubTimer
	dps dpsTimer

	gap        int       // DPS answers to rejections since the last stable connection: index into rejectionGaps
	outages    int       // DPS questions asked because the hub gave no useful answer, since the last stable connection
	clockAt    time.Time // when DPS last told the time, in this run of failures; zero: not asked
	clockTries int       // clock questions without an answer in a row
}

// rules is what does not change while a Device runs.
type rules struct {
	hub     retry.Policy
	dps     retry.Policy
	stagger time.Duration
	token   bool // the device authenticates with tokens, so a wrong clock looks like a wrong key
}

type hubTimer struct {
	armed bool
	busy  bool
	at    time.Time
	slot  slot   // the assignment tried last, or being tried
	host  string // its hub
	turns int    // attempts while there were two assignments to choose from
	n     int    // failures in a row since the last stable connection
	class hubconn.Class

	holds      [4]hubHold // the hubs that failed last, and before when they are left alone
	oldRefused bool       // the confirmed hub rejected the device since it last accepted it
}

// hubHold keeps a device from a hub for the time that its last failure calls for, whichever way the device comes by that hub again.
type hubHold struct {
	host  string
	until time.Time
}

// held is the time before which host is left alone, zero if it is not.
func (h *hubTimer) held(host string) time.Time {
	for i := range h.holds {
		if sameHub(h.holds[i].host, host) {
			return h.holds[i].until
		}
	}
	return time.Time{}
}

// hold leaves host alone until a time; zero lifts it. The hold that ends first makes room.
func (h *hubTimer) hold(host string, until time.Time) {
	oldest := 0
	for i := range h.holds {
		if sameHub(h.holds[i].host, host) {
			oldest = i
			break
		}
		if h.holds[i].until.Before(h.holds[oldest].until) {
			oldest = i
		}
	}
	h.holds[oldest] = hubHold{host: host, until: until}
}

type dpsTimer struct {
	armed bool
	busy  bool
	at    time.Time
	n     int // failures in a row
	hold  time.Time

	request   request
	operation string // operation ID to poll instead of registering anew
	reason    reason
	clock     clockFor // ask DPS for the time first, on whose behalf
	corrected bool     // the clock was corrected for this request already
	refused   bool     // the request was refused, and the clock may be why
	manual    bool     // somebody waits for the result
	unknown   bool     // a lookup found no registration: only registering helps
}

// A slot names one of the two assignments a device may hold.
type slot uint8

const (
	slotConfirmed slot = iota
	slotCandidate
)

// known is an assignment and where it came from. It is never changed after it was made.
type known struct {
	Assignment
	source Source
}

func (k *known) matches(a *Assignment) bool {
	return k != nil && sameHub(k.Hub, a.Hub) && k.DeviceID == a.DeviceID
}

type request uint8

const (
	requestRegister request = iota
	requestLookup
)

// A reason says why DPS is asked. It decides what follows from the answer, and is what a support case asks first.
type reason uint8

const (
	reasonNone     reason = iota
	reasonBoot            // nothing usable was remembered
	reasonRejected        // the hub turned the device away
	reasonOutage          // the hub gave no useful answer for a long time
	reasonManual          // the program asked
)

var reasonNames = [...]string{"", "nothing remembered", "rejected by the hub", "no answer from the hub", "asked by the program"}

func (r reason) String() string { return reasonNames[r] }

type clockFor uint8

const (
	clockForNone clockFor = iota
	clockForHub           // the hub rejected the device, or its certificate looked out of date
	clockForDPS           // DPS did
)

type eventKind uint8

const (
	eventBoot eventKind = iota
	eventTick
	eventConnected
	eventHubFailed
	eventLost
	eventClosed
	eventAssigned
	eventNotRegistered
	eventDPSFailed
	eventClock
	eventReprovision
	eventForget
	eventResume
)

// An event is something that happened to the device. Which fields count depends on the kind.
type event struct {
	kind eventKind

	memory memory // eventBoot
	still  bool   // starts nothing yet: another event follows, or nobody is there to perform it

	slot   slot          // eventConnected
	class  hubconn.Class // eventHubFailed, eventLost
	wait   time.Duration // eventHubFailed, eventLost, eventDPSFailed: what the peer asked for, 0 = nothing
	stable bool          // eventLost, eventClosed, eventAssigned: the connection lasted and carried something
	gone   bool          // eventHubFailed: the hub's name does not exist, so no clock is to blame
	dates  bool          // eventHubFailed, eventDPSFailed: only the dates of the server's certificate were wrong

	assignment *known     // eventAssigned
	failure    dpsFailure // eventDPSFailed
	operation  string     // eventDPSFailed: the operation to go on polling

	clock clockAnswer // eventClock
}

// memory is what the store said at boot.
type memory struct {
	verdict   retry.Verdict // Wait: connect; Lookup: ask; Register: register
	confirmed *known
	candidate *known
}

type dpsFailure uint8

const (
	dpsUnavailable      dpsFailure = iota // 5xx, no answer, two registrations at once
	dpsThrottled                          // 429
	dpsOperationUnknown                   // 404203
	dpsClockWrong                         // 401, and the answer's Date shows that our clock was wrong; it is corrected
	dpsClockUnknown                       // 401 without a Date
	dpsRefused                            // 401, 403, 404201, disabled, failed
	dpsNotAssigned                        // a lookup that says disabled or failed: the record changes only by registering
)

type clockAnswer uint8

const (
	clockUnknown clockAnswer = iota // DPS did not answer, and the clock is plausible
	clockSuspect                    // DPS did not answer, and the clock stands before a time that has certainly passed
	clockRight
	clockCorrected
)

type actionKind uint8

const (
	actionConnect actionKind = iota
	actionCancelConnect
	actionRegister
	actionLookup
	actionCheckClock
	actionCancelDPS
	actionRemember
	actionEndSession
	actionReply
	actionReplyHeld
)

// An action is something for Device to do. The result comes back as an event.
type action struct {
	kind      actionKind
	slot      slot
	target    *known
	operation string
}

// random is the only source of chance: uniform in [0, 1).
type random interface{ Float64() float64 }

const (
	hubFloor       = 5 * time.Second
	untrustedFloor = time.Minute
	hubCap         = 5 * time.Minute
	dpsCap         = time.Hour
	outageMin      = 15 * time.Minute // the first question after an outage comes at U(15, 30) min
	outageSpread   = 15 * time.Minute
	outageCap      = 24 * time.Hour
	outageLookups  = 2 // from the third question on it is a registration
	clockValid     = time.Hour
	clockPatience  = 3 // unanswered clock questions before a suspect clock no longer keeps a device from registering
	capWindow      = 64
	oldHubTurn     = 4 // a hub that rejected the device gets every fourth turn while there is a newer assignment
)

// A device that stays rejected asks DPS with growing gaps, ± 20 %: the hub may lag behind DPS, and a disabled device must not hammer it.
var rejectionGaps = [...]time.Duration{0, time.Minute, 5 * time.Minute, 15 * time.Minute, 30 * time.Minute, time.Hour}

func defaultRules() rules {
	return rules{
		hub: retry.Policy{MinDelay: hubFloor, MaxDelay: hubCap, Multiplier: 2},
		dps: retry.Policy{MinDelay: hubFloor, MaxDelay: dpsCap, Multiplier: 2},
	}
}

// step is the transition function. Its argument is not changed; the actions are to be performed in order.
func step(s state, e event, now time.Time, rnd random) (state, []action) {
	t := transition{state: s, now: now, rnd: rnd}
	switch e.kind {
	case eventBoot:
		t.boot(e.memory)
	case eventTick:
	case eventConnected:
		t.connect(e.slot)
	case eventHubFailed:
		t.hub.busy = false
		t.hubFailed(e)
	case eventLost:
		t.lost(e)
	case eventClosed:
		t.closed(e)
	case eventAssigned:
		t.assigned(e)
	case eventNotRegistered:
		t.notRegistered()
	case eventDPSFailed:
		t.dpsFailed(e)
	case eventClock:
		t.clockAnswered(e.clock)
	case eventReprovision:
		t.reprovision()
	case eventForget:
		t.forget()
	case eventResume:
		t.resume()
	}
	if !e.still {
		t.fire()
	}
	return t.state, t.actions
}

// wake says when the next timer is due. A device that is not connected and has nothing under way always has one.
func (s *state) wake() (at time.Time, ok bool) {
	if s.hub.armed {
		at, ok = s.hub.at, true
	}
	if s.dps.armed && (!ok || s.dps.at.Before(at)) {
		at, ok = s.dps.at, true
	}
	return at, ok
}

// target is the assignment to use next: what DPS said last, else what was confirmed.
func (s *state) target() *known {
	if s.candidate != nil {
		return s.candidate
	}
	return s.confirmed
}

// inUse is the assignment of the connection, if there is one, else the one to use next.
func (s *state) inUse() *known {
	if s.connected || s.hub.busy {
		if k := s.inSlot(s.hub.slot); k != nil {
			return k
		}
	}
	return s.target()
}

func (s *state) inSlot(slot slot) *known {
	if slot == slotCandidate {
		return s.candidate
	}
	return s.confirmed
}

// transition is one step under way.
type transition struct {
	state
	now     time.Time
	rnd     random
	actions []action
}

func (t *transition) do(a action) { t.actions = append(t.actions, a) }

func (t *transition) uniform(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(t.rnd.Float64()*float64(hi-lo))
}

func (t *transition) staggered() time.Time {
	return t.now.Add(t.uniform(0, t.rules.stagger))
}

// fire starts whatever is due.
func (t *transition) fire() {
	if t.hub.armed && !t.hub.busy && !t.hub.at.After(t.now) {
		k := t.inSlot(t.hub.slot)
		t.hub.armed, t.hub.busy, t.hub.host = false, true, k.Hub
		t.do(action{kind: actionConnect, slot: t.hub.slot, target: k})
	}
	if t.dps.armed && !t.dps.busy && !t.dps.at.After(t.now) {
		t.dps.armed, t.dps.busy = false, true
		if t.dps.reason == reasonOutage && t.hub.class == hubconn.Untrusted && !t.dps.unknown {
			t.dps.request = requestLookup // a captive portal is never a reason to register
		}
		switch {
		case t.dps.clock != clockForNone:
			t.do(action{kind: actionCheckClock})
		case t.dps.request == requestLookup:
			t.do(action{kind: actionLookup})
		default:
			t.do(action{kind: actionRegister, operation: t.dps.operation})
		}
	}
}

func (t *transition) boot(m memory) {
	t.confirmed, t.candidate = m.confirmed, m.candidate
	switch {
	case m.verdict == retry.Wait && t.target() != nil:
		t.armHub(t.now)
	case m.verdict == retry.Lookup:
		t.askDPS(t.staggered(), requestLookup, reasonBoot)
	default:
		t.askDPS(t.staggered(), requestRegister, reasonBoot)
	}
}

// armHub sets H, for the assignment whose turn it is, and never before what that hub asked for.
func (t *transition) armHub(at time.Time) {
	t.hub.slot = t.nextSlot()
	k := t.inSlot(t.hub.slot)
	if k == nil {
		t.hub.armed = false
		return
	}
	if hold := t.hub.held(k.Hub); at.Before(hold) {
		at = hold
	}
	t.hub.armed, t.hub.at = true, at
}

func (t *transition) nextSlot() slot {
	switch {
	case t.candidate == nil:
		return slotConfirmed
	case t.confirmed == nil:
		return slotCandidate
	}
	t.hub.turns++
	every := 2
	if t.hub.oldRefused {
		every = oldHubTurn
	}
	if t.hub.turns%every == 0 {
		return slotConfirmed
	}
	return slotCandidate
}

// askDPS sets D, never before what DPS asked for.
func (t *transition) askDPS(at time.Time, r request, why reason) {
	if t.dps.request != r || r != requestRegister {
		t.dps.operation = ""
	}
	t.dps.request, t.dps.reason, t.dps.clock = r, why, clockForNone
	t.dps.corrected, t.dps.refused, t.dps.unknown = false, false, false
	t.armDPS(at)
}

func (t *transition) armDPS(at time.Time) {
	if at.Before(t.dps.hold) {
		at = t.dps.hold
	}
	t.dps.armed, t.dps.busy, t.dps.at = true, false, at
}

func (t *transition) disarmDPS() {
	if t.dps.busy {
		t.do(action{kind: actionCancelDPS})
	}
	t.dps = dpsTimer{hold: t.dps.hold, n: t.dps.n}
}

func (t *transition) dpsPending() bool { return t.dps.armed || t.dps.busy }

func (t *transition) connect(which slot) {
	t.connected = true
	t.hub.armed, t.hub.busy, t.hub.slot = false, false, which
	t.hub.hold(t.hub.host, time.Time{})
	if which == slotCandidate && t.candidate != nil {
		t.confirmed, t.candidate = t.candidate, nil
		t.hub.slot = slotConfirmed
		t.do(action{kind: actionRemember})
	}
	t.hub.oldRefused = false
	if !t.dps.manual {
		t.disarmDPS()
	}
}

func (t *transition) lost(e event) {
	t.connected = false
	if e.stable {
		t.settle()
	}
	if t.target() == nil {
		t.hub.hold(t.hub.host, t.now.Add(t.rules.floorOf(e)))
		t.startOver()
		return
	}
	t.hubFailed(e)
}

// closed: the program ended a good connection itself. Nothing is wrong, so nothing waits.
func (t *transition) closed(e event) {
	t.connected = false
	if e.stable {
		t.settle()
	}
	if t.target() == nil {
		t.startOver()
		return
	}
	t.armHub(t.now)
}

// settle forgets past failures, after a connection that lasted.
func (t *transition) settle() {
	t.hub.n, t.dps.n, t.gap, t.outages, t.clockTries = 0, 0, 0, 0, 0
	t.clockAt = time.Time{}
}

// floorOf is how long a hub is left alone after a failure, before jitter.
func (r *rules) floorOf(e event) time.Duration {
	switch e.class {
	case hubconn.Throttled:
		return e.wait
	case hubconn.Untrusted:
		return max(e.wait, untrustedFloor, r.hub.MinDelay)
	}
	return max(e.wait, r.hub.MinDelay)
}

func (t *transition) hubFailed(e event) {
	t.hub.n++
	t.hub.class = e.class
	tried := t.hub.slot
	floor := t.rules.floorOf(e)
	t.hub.hold(t.hub.host, t.now.Add(floor))
	window := t.hub.n
	defer func() { t.armHub(t.now.Add(t.rules.hub.Delay(window, floor, t.rnd.Float64()))) }()

	switch e.class {
	case hubconn.Throttled:
		// The hub is right and knows the device: there is nothing to ask DPS about.
		if t.dps.armed && t.dps.reason == reasonOutage {
			t.disarmDPS()
		}
	case hubconn.Rejected, hubconn.Caller:
		if tried == slotConfirmed {
			t.hub.oldRefused = true
			if t.candidate != nil {
				return // what DPS said last has its own turn
			}
		}
		if t.gap == 0 {
			window = capWindow // DPS is asked; meanwhile the hub is probed at its cap
		}
		t.rejected(e.class == hubconn.Rejected && !e.gone)
	default:
		if e.dates && t.mayCheckClock() {
			t.dps.reason, t.dps.request = reasonOutage, requestLookup
			t.dps.clock = clockForHub
			t.armDPS(t.now)
			return
		}
		if !t.dpsPending() {
			t.armOutage()
		}
	}
}

// mayCheckClock: a question about an outage that waits its time gives way, once, since a network often comes up later than the device.
func (t *transition) mayCheckClock() bool {
	if t.dps.armed && t.dps.reason == reasonOutage && t.dps.clock == clockForNone {
		return t.clockAt.IsZero()
	}
	return !t.dpsPending() && t.clockStale()
}

func (t *transition) clockStale() bool {
	return t.clockAt.IsZero() || t.now.Sub(t.clockAt) >= clockValid
}

// rejected goes to DPS: at once for the first time, then with growing gaps. A token made with a wrong clock is rejected too, so the clock is
// checked first, which is no registration.
func (t *transition) rejected(clockMatters bool) {
	if t.dps.busy || t.dps.armed && t.dps.reason != reasonOutage {
		return
	}
	at := t.now.Add(t.rejectionGap())
	checkClock := clockMatters && t.rules.token && t.clockStale()
	if t.gap == 0 && !checkClock {
		at = t.staggered()
	}
	t.askDPS(at, requestRegister, reasonRejected)
	if checkClock {
		t.dps.clock = clockForHub
	}
}

func (t *transition) rejectionGap() time.Duration {
	gap := rejectionGaps[min(t.gap, len(rejectionGaps)-1)]
	return t.uniform(gap*8/10, gap*12/10)
}

// armOutage sets the next question about a silent hub: at U(15, 30) min, then at twice the distance each time.
func (t *transition) armOutage() {
	distance := t.uniform(outageMin, outageMin+outageSpread)
	for range min(t.outages, 16) {
		distance *= 2
	}
	r := requestLookup
	if t.outages >= outageLookups {
		r = requestRegister
	}
	t.askDPS(t.now.Add(min(distance, outageCap)), r, reasonOutage)
}

func (t *transition) assigned(e event) {
	k, why, manual := e.assignment, t.dps.reason, t.dps.manual
	if e.stable {
		t.settle()
	}
	t.dps.armed, t.dps.busy, t.dps.manual = false, false, false
	t.dps.n, t.dps.operation, t.dps.corrected = 0, "", false
	if why == reasonRejected {
		t.gap++
	} else {
		t.gap = max(t.gap, 1) // the hub may lag behind DPS: a rejection right after an answer is no reason to ask again at once
	}
	switch {
	case t.confirmed.matches(&k.Assignment):
		t.confirmed = k
		t.dropCandidate()
		t.do(action{kind: actionRemember})
		t.confirmedAgain(why)
	case t.candidate.matches(&k.Assignment) && !t.connected:
		t.candidate = k
		t.do(action{kind: actionRemember})
		t.confirmedAgain(why)
	default:
		t.moveTo(k)
	}
	if manual {
		t.do(action{kind: actionReply, target: k}) // last: who asked may rely on what is remembered
	}
}

func (t *transition) dropCandidate() {
	if t.candidate == nil {
		return
	}
	t.candidate = nil
	if t.connected || t.hub.busy && t.hub.slot != slotCandidate {
		return
	}
	t.hub.slot = slotConfirmed
	if t.hub.busy {
		t.hub.busy = false
		t.do(action{kind: actionCancelConnect})
	}
	// Whatever the candidate's delay has grown to, the old hub is tried soon.
	t.hub.n = 0
	t.armHub(t.now.Add(t.rules.hub.Delay(1, 0, t.rnd.Float64())))
}

// confirmedAgain: DPS named the hub that is known already.
func (t *transition) confirmedAgain(why reason) {
	switch {
	case t.connected:
	case why == reasonOutage:
		t.outages++
		t.armOutage()
	case t.hub.busy:
	case why == reasonRejected:
		// The hub may lag behind DPS: try it again, soon but not at once.
		t.hub.n = 0
		t.armHub(t.now.Add(t.rules.hub.Delay(1, 0, t.rnd.Float64())))
	case t.hub.n == 0:
		t.armHub(t.now)
	}
}

// moveTo: DPS named another hub or device ID. It is remembered at once, and tried at once; the old one is kept until it works.
func (t *transition) moveTo(k *known) {
	t.candidate = k
	t.do(action{kind: actionRemember})
	if t.connected {
		t.connected = false
		t.do(action{kind: actionEndSession})
	}
	if t.hub.busy {
		t.do(action{kind: actionCancelConnect})
	}
	t.hub.n, t.hub.turns = 0, 1
	t.hub.slot = slotCandidate
	t.hub.armed, t.hub.busy, t.hub.at = true, false, later(t.now, t.hub.held(k.Hub))
}

// notRegistered: a status lookup found no assignment.
func (t *transition) notRegistered() {
	t.dps.n = 0
	t.askDPS(t.now, requestRegister, t.dps.reason)
	t.dps.unknown = true
}

func (t *transition) dpsFailed(e event) {
	t.dps.busy = false
	if e.wait > 0 {
		t.dps.hold = t.now.Add(e.wait)
	}
	if !t.clockMayMend(e) && t.manualFailed() {
		return
	}
	t.dps.n++
	t.dps.operation = e.operation
	backoff := func(floor time.Duration) time.Time {
		return t.now.Add(t.rules.dps.Delay(t.dps.n, floor, t.rnd.Float64()))
	}
	switch e.failure {
	case dpsThrottled:
		t.armDPS(backoff(e.wait))
	case dpsClockWrong:
		t.clockAt = t.now
		if t.dps.corrected {
			t.atCap()
			return
		}
		t.dps.corrected = true
		t.armDPS(t.now)
	case dpsClockUnknown:
		if t.dps.corrected || !t.clockStale() {
			t.atCap()
			return
		}
		t.dps.clock, t.dps.refused = clockForDPS, true
		t.armDPS(t.now)
	case dpsRefused:
		t.atCap()
	case dpsNotAssigned:
		t.dps.request = requestRegister
		t.atCap()
	default:
		if e.dates && t.clockStale() {
			t.dps.clock = clockForDPS
			t.armDPS(t.now)
			return
		}
		t.armDPS(backoff(max(e.wait, t.rules.dps.MinDelay)))
	}
}

// clockMayMend says that the request is repeated at once, after a look at the clock or after its correction.
func (t *transition) clockMayMend(e event) bool {
	switch e.failure {
	case dpsClockWrong:
		return !t.dps.corrected
	case dpsClockUnknown:
		return !t.dps.corrected && t.clockStale()
	}
	return e.failure == dpsUnavailable && e.dates && t.clockStale()
}

// manualFailed tells who waits for a registration that it has failed, and says whether that is the end of it: the old assignment and
// connection stay as they were, and only a device with nowhere to go asks again by itself.
func (t *transition) manualFailed() (over bool) {
	if !t.dps.manual {
		return false
	}
	t.dps.manual = false
	t.do(action{kind: actionReply})
	if !t.connected && (t.dps.reason != reasonManual || t.target() == nil) {
		return false
	}
	t.disarmDPS()
	if !t.connected && !t.hub.armed && !t.hub.busy {
		t.armHub(t.now)
	}
	return true
}

// atCap: DPS knows the device's request and refuses it. Asking again soon would not help, never asking again would be a truck roll.
func (t *transition) atCap() {
	t.dps.corrected, t.dps.refused, t.dps.operation = false, false, ""
	t.armDPS(t.now.Add(t.uniform(dpsCap*8/10, dpsCap*12/10)))
}

func (t *transition) clockAnswered(answer clockAnswer) {
	onBehalf, why := t.dps.clock, t.dps.reason
	t.dps.busy = false
	switch answer {
	case clockRight, clockCorrected:
		t.clockAt, t.clockTries = t.now, 0
	default:
		t.clockTries++
		if t.manualFailed() {
			return
		}
		if answer == clockSuspect && t.clockTries < clockPatience {
			t.dps.n++
			t.armDPS(t.now.Add(t.rules.dps.Delay(t.dps.n, 0, t.rnd.Float64())))
			return
		}
		// Nobody tells the time: not asked again for a while, or a device that cannot reach the clock would never get to DPS.
		t.clockAt = t.now
	}
	t.dps.clock = clockForNone
	switch {
	case onBehalf == clockForHub && answer == clockCorrected:
		// The rejection was the clock's fault: once more, with a fresh token.
		t.disarmDPS()
		t.hub.hold(t.hub.host, time.Time{})
		if !t.hub.busy && !t.connected {
			t.armHub(t.now)
		}
	case onBehalf == clockForHub && why == reasonOutage:
		t.armOutage()
	case onBehalf == clockForHub:
		t.armDPS(t.staggered())
	case answer == clockCorrected:
		t.dps.corrected, t.dps.refused = true, false
		t.armDPS(t.now)
	case t.manualFailed():
	case t.dps.refused:
		t.atCap()
	default:
		t.armDPS(t.now.Add(t.rules.dps.Delay(t.dps.n, 0, t.rnd.Float64())))
	}
}

func (t *transition) reprovision() {
	if t.now.Before(t.dps.hold) {
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
