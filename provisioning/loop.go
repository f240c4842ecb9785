package provisioning

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
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
	hub      *request      // under way
	dps      *request      // under way
	running  sync.WaitGroup
	inUse    *hubconn.Conn // whose session function has not returned yet
	sessions chan sessionEnd
	failures int
	unstable bool    // the connection before was lost before it was stable
	stable   bool    // this one is
	waiting  []*call // for a registration
	done     bool
	outcome  error
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
	l.driving, l.hubless = true, !t.triesHub()
	l.begin()
	for !l.done {
		if l.reached(&l.state) {
			return nil
		}
		l.turn()
	}
	return l.outcome
}

// begin takes the device up where it was left.
func (l *loop) begin() {
	if !l.booted {
		l.booted = true
		l.boot()
		if !l.booted {
			return
		}
	} else {
		if l.conn != nil && l.conn.Context().Err() != nil {
			l.connectionEnded()
		}
		l.beginWith(rules.Resume{})
	}
	if l.served != nil && !l.done {
		l.accept(l.served)
	}
}

func (l *loop) boot() {
	l.usesToken = l.tokensInUse()
	l.state = rules.State{Settings: l.settings}
	l.state.Settings.Tokens = l.usesToken
	if l.device != nil {
		l.bootModule()
		return
	}
	boot, why := l.store.read(l.ctx)
	if why != nil && l.ctx.Err() != nil { // interrupted: the store is read again the next time
		l.booted = false
		l.finish(context.Cause(l.ctx))
		return
	}
	if why != nil {
		l.storeFailed("the stored assignment is not used", why)
		l.last.err = why
	}
	if e := l.store.last; e != nil {
		l.clock.remember(e.Saved)
		l.store.fallback = e.Fallback
		l.toHub.since, l.toDPS.since = e.Fallback.Hub, e.Fallback.DPS
	}
	l.loadWaits(&boot, l.owner)
	l.resumeTransports(&boot.Waits)
	l.beginWith(boot)
}

// beginWith begins with an event. Where a call is served next, that decides what is started.
func (l *loop) beginWith(e rules.Event) {
	if l.served != nil {
		l.apply(e)
		l.publish()
		return
	}
	l.step(e)
}

// tokensInUse: a device that authenticates with a certificate has no tokens that a wrong clock
// could spoil.
func (l *loop) tokensInUse() bool {
	certificate, err := l.identity.credential.Certificate(l.ctx)
	return certificate == nil || err != nil
}

// turn waits for the next thing to happen.
func (l *loop) turn() {
	moved := l.follow()
	var due <-chan time.Time
	if at, ok := l.wake(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	var lost <-chan struct{}
	var lasted <-chan time.Time
	if l.conn != nil && l.triesHub() {
		lost = l.conn.Context().Done()
		if !l.stable {
			timer := time.NewTimer(untilStable(l.conn))
			defer timer.Stop()
			lasted = timer.C
		}
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
	case <-due:
		l.fire()
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
	return errors.Join(cause, l.last.err)
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

// accept takes in a call from another goroutine, or the one this loop is for.
func (l *loop) accept(a *call) {
	if _, forget := a.event.(rules.Forget); !forget {
		if len(l.waiting) == 0 {
			l.manualReason = a.reason
		}
		l.waiting = append(l.waiting, a)
		l.step(a.event)
		return
	}
	if a != l.served {
		err := l.store.forget(context.WithoutCancel(l.ctx)) // who asked is not the one who ends Run
		l.step(a.event)
		a.result <- callResult{err: err}
		return
	}
	err := l.store.forget(l.ctx)
	l.apply(a.event)
	l.publish()
	a.result <- callResult{err: err}
	l.finish(nil)
}

// reply answers all who wait for a registration.
func (l *loop) reply(r callResult) {
	if len(l.waiting) > 0 {
		l.publish() // who is answered may look at Status
	}
	for _, a := range l.waiting {
		a.result <- r
		if a == l.served {
			l.finish(nil)
		}
	}
	l.waiting = nil
}

// stop ends everything the loop started, in order: requests, the session, the connection.
func (l *loop) stop() {
	for _, r := range []*request{l.hub, l.dps} {
		if r != nil {
			r.cancel()
		}
	}
	keep := l.keeps(l.outcome == nil && l.state.Connected)
	if l.inUse != nil { // the session may wait for an answer, and is waited for
		l.setEnding(true)
		l.publish()
		l.reply(callResult{err: errStopped})
	}
	l.drain()
	l.setEnding(false)
	if l.conn != nil && !keep {
		ended := closed(l.conn)
		_ = l.conn.Close()
		l.conn = nil
		l.state, _ = rules.Apply(l.state, ended, time.Now(), l.random)
	}
	l.reply(callResult{err: errUnserved})
	l.rememberUnstored()
	l.saveWaits(true)
	l.driving = false
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
