// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
)

// loop is one call to drive: it feeds events to the rules, performs the actions, and ends
// everything it started.
type loop struct {
	*core
	task
	ctx context.Context

	tried    time.Time // when the last attempt at the hub began: its token is of then
	asked    time.Time // the same of the last request to DPS
	results  chan result
	progress chan progress // of the request to DPS under way
	renewal  *request      // under way, at the hub
	swap     *request      // of the live connection's credential
	renewing []*call       // who waits for a certificate
	granted  *Turn         // of the request that is about to start
	running  sync.WaitGroup
	inUse    *hubconn.Conn // whose session function has not returned yet
	sessions chan sessionEnd
	tally
	stable  bool             // the connection is
	handed  rules.Assignment // toHand: what the program is to try
	waiting []*call          // for a registration
	done    bool
	outcome error
}

// tally is what counts against the attempts that the program allows.
type tally struct {
	failures int
	patience patience
	unstable bool // the connection before was lost before it was stable
}

// drive does what the rules say until the task is done. The caller holds the lease.
func (c *core) drive(ctx context.Context, t task) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l := &loop{
		core: c, task: t, ctx: ctx,
		results: make(chan result), sessions: make(chan sessionEnd, 1),
		progress: make(chan progress),
	}
	defer l.stop()
	select {
	case <-l.nudges: // for nobody: it came when nothing was driven
	default:
	}
	l.driving, l.hubless, l.attempting = true, !t.triesHub(), t.attempt
	l.takeOverFromOwn()
	l.begin()
	for !l.done {
		if l.reached(&l.state) || l.handsOver() {
			return nil
		}
		if l.givesUp(time.Now()) {
			l.finish(l.patience.exhausted)
			break
		}
		l.turn()
	}
	return l.outcome
}

// turn waits for the next thing to happen. A timer that nobody waits for any more costs nothing.
func (l *loop) turn() {
	moved := l.follow()
	var due <-chan time.Time
	if at, ok := l.wake(); ok {
		if l.tooLate(at) {
			return
		}
		due = time.After(time.Until(at))
	}
	var lost <-chan struct{}
	var lasted <-chan time.Time
	if l.conn != nil && l.triesHub() {
		lost = l.conn.Context().Done()
		if !l.stable {
			lasted = time.After(untilStable(l.conn))
		}
	}
	var warn <-chan time.Time
	if at, ok := l.nextWarning(); ok {
		warn = time.After(time.Until(at))
	}
	l.recheck()
	l.sourceProblem()
	var recheck <-chan time.Time
	if after := l.recheckAfter(); after > 0 {
		recheck = time.After(after)
	}
	var yield <-chan struct{}
	if !l.triesHub() {
		yield = l.lease.yield
	}
	select {
	case <-l.ctx.Done():
		l.finish(l.interrupted())
	case <-yield:
		l.finish(errUnserved)
	case <-moved: // the next turn takes it in
	case <-recheck: // so does it
		l.storeCertificates()
	case <-warn:
		l.assessOutage(false)
		l.saveWaits(false)
		l.publish()
	case <-l.sourceChanged:
		l.credentialChanged()
	case <-due:
		l.fire()
	case <-l.hub.ready():
		l.admitted(&l.hub)
	case <-l.dps.ready():
		l.admitted(&l.dps)
	case r := <-l.results:
		l.receive(r)
	case p := <-l.progress:
		if p.ctx.Err() == nil { // else the request was given up meanwhile
			l.step(p.event)
		}
	case <-lasted:
		l.checkStable()
	case <-lost:
		l.connectionEnded()
	case s := <-l.sessions:
		l.sessionEnded(s)
	case a := <-l.calls:
		l.accept(a)
	case <-l.nudges:
		l.step(rules.Nudge{})
	}
}

func (l *loop) wake() (time.Time, bool) {
	if l.triesHub() {
		return l.state.Wake()
	}
	return l.state.WakeDPS()
}

// interrupted is what to say when ctx ends: why, and what was wrong until then.
func (l *loop) interrupted() error {
	cause := context.Cause(l.ctx)
	if l.state.Connected || l.last.err == nil {
		return cause
	}
	return oneline.Join(cause, l.last.err)
}

func (l *loop) finish(err error) {
	if !l.done {
		l.done, l.outcome = true, err
	}
}

// step decides, performs and publishes.
func (l *loop) step(e rules.Event) {
	l.decided(rules.Step(l.state, e, time.Now(), l.random))
	l.publish()
}

// apply is step without starting what is due.
func (l *loop) apply(e rules.Event) {
	l.decided(rules.Apply(l.state, e, time.Now(), l.random))
}

// fire starts what is due.
func (l *loop) fire() {
	l.decided(rules.Fire(l.state, time.Now(), l.random))
	l.publish()
}

func (l *loop) decided(s rules.State, actions []rules.Action) {
	before := l.state.DPS
	l.state = s
	l.assessOutage(false)
	if stored := afterRemember(actions); stored > 0 && before.Operation != "" {
		// The operation is forgotten when what it has led to is stored, which takes as long as
		// the medium does: a device that is killed meanwhile polls it, and registers nothing anew.
		l.state.DPS = before
		l.saveWaits(false)
		l.state = s
		for _, a := range actions[:stored] {
			l.perform(a)
		}
		actions = actions[stored:]
	}
	l.saveWaits(false) // before anything else: what was asked for holds from now on
	for _, a := range actions {
		l.perform(a)
	}
}

// afterRemember is how many actions there are up to the last that stores something, with that.
func afterRemember(actions []rules.Action) (n int) {
	for i, a := range actions {
		if _, ok := a.(rules.Remember); ok {
			n = i + 1
		}
	}
	return n
}

// stop ends everything the loop started, in order: requests, the session, the connection.
func (l *loop) stop() {
	for _, r := range []**request{&l.hub, &l.dps, &l.renewal, &l.swap} {
		l.cancel(r)
	}
	keep := l.keeps(l.outcome == nil && l.state.Connected)
	l.outageEnding()
	if l.inUse != nil { // the session may wait for an answer, and is waited for
		l.setEnding(true)
		l.publish()
		l.reply(callResult{err: errStopped})
		l.replyTo(&l.renewing, callResult{err: errStopped})
	}
	l.drain()
	l.setEnding(false)
	if l.conn != nil && !keep {
		ended := l.closed(l.conn)
		_ = l.conn.Close()
		l.conn = nil
		l.state, _ = rules.Apply(l.state, ended, time.Now(), l.random)
	}
	l.reply(callResult{err: errUnserved})
	l.replyTo(&l.renewing, callResult{err: errUnserved})
	l.leaveToOwn()
	l.certificatesStored()
	l.rememberUnstored()
	l.assessOutage(true)
	l.saveWaits(l.purpose != toHand || l.outcome != nil) // what is handed out is reported next
	l.driving = false
	if l.outage.attempts == 0 {
		l.outage = outage{} // until the next call nothing is missing
	}
	l.publish()
}

// drain waits for every goroutine of the loop, and closes connections that come too late.
func (l *loop) drain() {
	ended := make(chan struct{})
	// A session that calls with a context of its own must not wait for its own end.
	var calls chan *call
	if l.inUse != nil {
		calls = l.calls
	}
	go func() {
		l.running.Wait()
		close(ended)
	}()
	for {
		select {
		case <-ended:
			return
		case r := <-l.results:
			if r.conn != nil {
				_ = r.conn.Close()
			}
		case <-l.sessions:
		case a := <-calls:
			l.acceptLate(a)
		}
	}
}
