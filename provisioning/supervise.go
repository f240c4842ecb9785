package provisioning

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// mode is what a call to supervise is for.
type mode struct {
	session  func(context.Context, *hubconn.Conn) error // run it on every connection; else
	until    func(*state) bool                          // return as soon as this holds; or
	asked    *asking                                    // when this is answered; or
	exchange func(context.Context, hubconn.Hub) error   // when this has succeeded: it takes the place of a connection
	noHub    bool                                       // ask DPS only
}

// loop is one call to supervise: it feeds events to step, performs the actions, and ends everything it started.
type loop struct {
	*core
	mode
	ctx context.Context

	results  chan result
	hubWork  *work
	dpsWork  *work
	running  sync.WaitGroup
	session  *hubconn.Conn // whose session function has not returned yet
	sessions chan sessionEnd
	failures int
	waiting  []*asking
	done     bool
	outcome  error
}

// work is a request under way.
type work struct {
	cancel context.CancelFunc
}

// result is what became of it.
type result struct {
	work  *work
	event event
	conn  *hubconn.Conn
	err   error
}

func (c *core) supervise(ctx context.Context, m mode) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	l := &loop{core: c, mode: m, ctx: ctx, results: make(chan result), sessions: make(chan sessionEnd, 1)}
	defer l.stop()
	l.driving, l.dpsOnly = true, m.noHub
	l.begin()
	for !l.done {
		if l.until != nil && l.until(&l.state) {
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
			l.ended()
		}
		l.step(event{kind: eventResume, still: l.asked != nil})
	}
	if l.asked != nil && !l.done {
		l.accept(l.asked)
	}
}

func (l *loop) boot() {
	l.tokens = l.usesTokens()
	l.state = state{rules: l.device.rules(l.tokens)}
	m, why := l.notebook.read(l.ctx)
	if why != nil && l.ctx.Err() != nil { // the store was interrupted: it is read again the next time
		l.booted = false
		l.finish(context.Cause(l.ctx))
		return
	}
	if why != nil {
		l.storeFailed("the stored assignment is not used", why)
		l.last.err = why
	}
	if e := l.notebook.last; e != nil {
		l.clock.remember(e.saved)
	}
	l.step(event{kind: eventBoot, memory: m, still: l.asked != nil})
}

// usesTokens: a device that authenticates with a certificate has no tokens that a wrong clock could spoil.
func (l *loop) usesTokens() bool {
	certificate, err := l.device.Attestation.Certificate(l.ctx)
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
	if l.conn != nil && !l.noHub {
		lost = l.conn.Context().Done()
	}
	var giveWay <-chan struct{}
	if l.noHub {
		giveWay = l.giveWay
	}
	select {
	case <-l.ctx.Done():
		l.finish(l.interrupted())
	case <-giveWay:
		l.finish(errUnserved)
	case <-due:
		l.step(event{kind: eventTick})
	case r := <-l.results:
		l.settleWork(r)
	case <-lost:
		l.ended()
	case s := <-l.sessions:
		l.sessionEnded(s)
	case a := <-l.asks:
		l.accept(a)
	}
}

func (l *loop) wake() (time.Time, bool) {
	if !l.noHub {
		return l.state.wake()
	}
	return l.state.dps.at, l.state.dps.armed
}

// interrupted is what to say when ctx ends: why, and what was wrong until then.
func (l *loop) interrupted() error {
	cause := context.Cause(l.ctx)
	if l.state.connected || l.last.err == nil {
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
func (l *loop) step(e event) {
	l.decide(e)
	l.publish()
}

func (l *loop) decide(e event) {
	var actions []action
	l.state, actions = step(l.state, e, time.Now(), l.rnd)
	for _, a := range actions {
		l.perform(a)
	}
}

// failed counts a failure, and gives up if the program said after how many.
func (l *loop) failed(err error, class hubconn.Class) {
	l.last.err, l.last.class = err, class
	if l.state.connected && l.conn != nil {
		return // a registration that the program asked for: the connection is fine
	}
	l.failures++
	if limit := l.device.Retry.MaxAttempts; limit > 0 && l.failures >= limit {
		l.finish(err)
	}
}

// settleWork takes the result of a request, unless another has taken its place.
func (l *loop) settleWork(r result) {
	switch r.work {
	case l.hubWork:
		l.hubWork = nil
		switch {
		case l.exchange != nil && r.err == nil:
			l.exchanged(r.event)
			return
		case l.exchange != nil && r.event.class == hubconn.Caller:
			l.finish(r.err) // says nothing of the hub: the state stays as it is, to be resumed
			return
		case r.err != nil:
			l.failed(r.err, r.event.class)
		default:
			l.conn, l.last, l.failures = r.conn, lastSeen{dps: l.last.dps}, 0
			l.counts.Connections++
		}
	case l.dpsWork:
		l.dpsWork = nil
		switch {
		case r.event.kind == eventAssigned:
			l.tellAssigned(r.event.assignment)
			r.event.stable = l.conn != nil && isStable(l.conn)
		case r.event.kind == eventDPSFailed:
			l.last.dps = r.err
			l.failed(r.err, l.last.class)
		}
	default:
		if r.conn != nil {
			l.close(r.conn, nil)
		}
		return
	}
	l.step(r.event)
	if l.conn != nil && r.conn == l.conn {
		l.startSession()
	}
}

// accept takes in a call from another goroutine, or the one this loop is for.
func (l *loop) accept(a *asking) {
	if a.kind == eventForget {
		err := l.notebook.forget(l.ctx)
		l.step(event{kind: eventForget, still: a == l.asked})
		a.answer <- answer{err: err}
		if a == l.asked {
			l.finish(nil)
		}
		return
	}
	l.waiting = append(l.waiting, a)
	l.step(event{kind: eventReprovision})
}

func (l *loop) reply(r answer) {
	for _, a := range l.waiting {
		a.answer <- r
		if a == l.asked {
			l.finish(nil)
		}
	}
	l.waiting = nil
}

// stop ends everything the loop started, in order: requests, the session, the connection.
func (l *loop) stop() {
	for _, w := range []*work{l.hubWork, l.dpsWork} {
		if w != nil {
			w.cancel()
		}
	}
	keep := l.until != nil && !l.noHub && l.outcome == nil && l.state.connected || l.noHub
	if l.session != nil {
		l.reply(answer{err: errStopped}) // the session may wait for it, and is waited for
	}
	l.drain()
	if l.conn != nil && !keep {
		closed := event{kind: eventClosed, stable: isStable(l.conn), still: true}
		_ = l.conn.Close()
		l.conn = nil
		l.state, _ = step(l.state, closed, time.Now(), l.rnd)
	}
	l.reply(answer{err: errUnserved})
	l.driving = false
	l.publish()
}

// drain waits for every goroutine of the loop, and closes connections that come too late.
func (l *loop) drain() {
	ended := make(chan struct{})
	var asks chan *asking // a session that asks with a context of its own must not wait for its own end
	if l.session != nil {
		asks = l.asks
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
		case a := <-asks:
			a.answer <- answer{err: errStopped}
		}
	}
}

// close ends a connection without holding up the loop.
func (l *loop) close(conn *hubconn.Conn, cause error) {
	l.running.Go(func() {
		if cause == nil {
			_ = conn.Close()
			return
		}
		_ = conn.CloseCause(cause)
	})
}
