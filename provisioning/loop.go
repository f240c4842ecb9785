package provisioning

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// loop is one call to drive: it feeds events to the rules, performs the actions, and ends
// everything it started.
type loop struct {
	*core
	task
	ctx context.Context

	results  chan result
	hub      *request // under way
	dps      *request // under way
	running  sync.WaitGroup
	inUse    *hubconn.Conn // whose session function has not returned yet
	sessions chan sessionEnd
	failures int
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
	}
	defer l.stop()
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
	}
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
	certificate, err := l.store.owner.attestation.Certificate(l.ctx)
	return certificate == nil || err != nil
}

// turn waits for the next thing to happen.
func (l *loop) turn() {
	var due <-chan time.Time
	if at, ok := l.wake(); ok {
		timer := time.NewTimer(time.Until(at))
		defer timer.Stop()
		due = timer.C
	}
	var lost <-chan struct{}
	if l.conn != nil && l.triesHub() {
		lost = l.conn.Context().Done()
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
	case <-due:
		l.fire()
	case r := <-l.results:
		l.receive(r)
	case <-lost:
		l.connectionEnded()
	case s := <-l.sessions:
		l.sessionEnded(s)
	case a := <-l.calls:
		l.accept(a)
	}
}

func (l *loop) wake() (time.Time, bool) {
	if l.triesHub() {
		return l.state.Wake()
	}
	return l.state.DPS.At, l.state.DPS.Phase == rules.Waiting
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
	l.state = s
	for _, a := range actions {
		l.perform(a)
	}
}

// failed counts a failure, and gives up if the program said after how many.
func (l *loop) failed(err error, class retry.Class) {
	l.last.err, l.last.class = err, class
	if l.state.Connected && l.conn != nil {
		return // a registration that the program asked for: the connection is fine
	}
	l.failures++
	if limit := l.maxAttempts; limit > 0 && l.failures >= limit {
		l.finish(err)
	}
}

// receive takes in the result of a request, unless another has taken its place.
func (l *loop) receive(r result) {
	switch r.request {
	case l.hub:
		l.hub = nil
		if !l.hubAnswered(r) {
			return
		}
	case l.dps:
		l.dps = nil
		l.dpsAnswered(&r)
	default:
		if r.conn != nil {
			l.close(r.conn, nil)
		}
		return
	}
	failures := l.counts.StoreFailures
	l.step(r.event)
	if l.conn != nil && r.conn == l.conn {
		l.startSession()
		if l.counts.StoreFailures == failures { // the step itself has not just tried
			l.rememberUnstored()
		}
	}
}

// hubAnswered says whether the rules are to hear of it.
func (l *loop) hubAnswered(r result) bool {
	if l.purpose == toExchange && r.err == nil {
		l.exchanged(r.event)
		return false
	}
	if r.err == nil {
		l.conn, l.last, l.failures = r.conn, lastFailure{dps: l.last.dps}, 0
		l.counts.Connections++
		return true
	}
	class := retry.Class(0)
	if f, ok := r.event.(rules.HubFailure); ok {
		class = f.Class
	}
	if l.purpose == toExchange && class == retry.Caller {
		l.finish(r.err) // says nothing of the hub: the state stays as it is, to be resumed
		return false
	}
	l.failed(r.err, class)
	return true
}

func (l *loop) dpsAnswered(r *result) {
	switch e := r.event.(type) {
	case rules.Assigned:
		e.Stable = l.conn != nil && isStable(l.conn)
		r.event = e
	case rules.DPSFailed:
		l.last.dps = r.err
		l.failed(r.err, l.last.class)
	}
}

// accept takes in a call from another goroutine, or the one this loop is for.
func (l *loop) accept(a *call) {
	if _, forget := a.event.(rules.Forget); !forget {
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
		closed := rules.Closed{Stable: isStable(l.conn)}
		_ = l.conn.Close()
		l.conn = nil
		l.state, _ = rules.Apply(l.state, closed, time.Now(), l.random)
	}
	l.reply(callResult{err: errUnserved})
	l.rememberUnstored()
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
