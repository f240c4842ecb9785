package provisioning

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// A connection is stable once it has lasted this long and the hub has acknowledged something. Only then are past failures forgotten: a quota,
// two devices with one identity and messages that the hub refuses all look like "connected, then dropped".
const stableAfter = 30 * time.Second

// core is what the methods of a Device share. One goroutine at a time holds it (take) and drives it; the others see what it publishes.
type core struct {
	device   *Device
	client   *Client
	dialer   *hubconn.Dialer
	clock    *wallClock
	settings *notebook // as set, never read from; a copy of it reads and writes
	notebook *notebook
	rnd      random
	log      *slog.Logger
	trace    Trace

	asks    chan *asking  // to whoever drives
	giveWay chan struct{} // to a call that drives for want of a Run: Run wants to

	// Of the goroutine that drives.
	state   state
	booted  bool
	driving bool
	dpsOnly bool
	conn    *hubconn.Conn // the live connection; also one that Connect returned
	last    lastSeen
	counts  Status // only its counters
	tokens  bool   // the device authenticates with tokens

	mu     sync.Mutex
	held   chan struct{} // not nil while somebody drives; closed when they are done
	holder holder        // who
	wanted int           // how many of Run, Connect, Send and Receive wait for it
	notify chan struct{} // closed at the next publication
	status Status
	target *known
	live   *hubconn.Conn
}

// holder is the kind of a call that drives the device.
type holder uint8

const (
	holderHelper holder = iota // drives only for want of another: gives way
	holderMain                 // Run or Connect
	holderBrief                // Send or Receive: several of them queue up
)

// lastSeen is what explains the state to a person.
type lastSeen struct {
	err   error
	class hubconn.Class
	dps   error // the last failure of a request to DPS
}

// asking is a call that whoever drives the device answers.
type asking struct {
	kind   eventKind
	answer chan answer
}

type answer struct {
	assignment Assignment
	err        error
}

func newCore(d *Device) (*core, error) {
	var system func() time.Time
	if d.TLSConfig != nil {
		system = d.TLSConfig.Time
	}
	clock := newWallClock(system)
	client := d.client(clock)
	if err := d.validate(client); err != nil {
		return nil, err
	}
	c := &core{
		device: d, client: client, dialer: d.dialer(clock), clock: clock, asks: make(chan *asking), giveWay: make(chan struct{}), notify: make(chan struct{}),
		rnd: newRandom(d.Attestation.RegistrationID()), log: d.Logger, status: Status{State: StateStopped},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if d.Trace != nil {
		c.trace = *d.Trace
	}
	c.settings = &notebook{store: d.Store, attestation: d.Attestation, scope: d.IDScope, endpoint: client.endpoint(), now: clock.Now}
	notebook := *c.settings
	c.notebook = &notebook
	return c, nil
}

// newRandom mixes the system's entropy with the registration ID: boards that boot from one image with an empty entropy pool must not draw
// the same delays.
func newRandom(registrationID string) random {
	var seed [sha256.Size]byte
	_, _ = rand.Read(seed[:])
	return mathrand.New(mathrand.NewChaCha8(sha256.Sum256(append(seed[:], registrationID...))))
}

// take makes the caller the one who drives the device. If somebody else is, or Run is about to, it returns what to wait for before the
// next try.
func (c *core) take(as holder) (wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.held != nil:
		return c.held
	case as == holderHelper && c.wanted > 0:
		return c.notify
	}
	c.held, c.holder = make(chan struct{}), as
	return nil
}

// takeOver is take for Run, Connect, Send and Receive: calls that drive the device only for want of these give way.
func (c *core) takeOver(ctx context.Context, as holder) error {
	c.want(1)
	defer c.want(-1)
	for {
		wait := c.take(as)
		if wait == nil {
			return nil
		}
		switch held, by := c.heldBy(); {
		case !held || by == holderHelper:
		case by == holderMain || as == holderMain:
			return ErrRunning
		}
		select {
		case c.giveWay <- struct{}{}:
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *core) want(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted += n
	if c.wanted == 0 && c.held == nil {
		c.announce() // who waited for the one that has given up
	}
}

// announce wakes who waits for a change. The caller holds mu.
func (c *core) announce() {
	close(c.notify)
	c.notify = make(chan struct{})
}

func (c *core) heldBy() (held bool, by holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held != nil, c.holder
}

func (c *core) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.held)
	c.held = nil
	c.announce()
}

func (c *core) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notify
}

func (c *core) peek() *known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.target
}

// ask hands a call to whoever drives the device, or drives it for the purpose.
func (c *core) ask(ctx context.Context, a *asking) (Assignment, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return Assignment{}, err
		}
		wait := c.take(holderHelper)
		if wait == nil {
			err := c.supervise(ctx, mode{noHub: true, asked: a})
			c.release()
			select {
			case r := <-a.answer:
				if errors.Is(r.err, errUnserved) && ctx.Err() == nil {
					continue
				}
				if r.err == nil || !errors.Is(r.err, errUnserved) {
					return r.assignment, r.err
				}
			default:
			}
			if err == nil {
				err = errUnserved
			}
			return Assignment{}, err
		}
		select {
		case c.asks <- a:
			select {
			case r := <-a.answer:
				if errors.Is(r.err, errUnserved) {
					continue
				}
				return r.assignment, r.err
			case <-ctx.Done():
				return Assignment{}, context.Cause(ctx)
			}
		case <-wait:
		case <-ctx.Done():
			return Assignment{}, context.Cause(ctx)
		}
	}
}

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

type sessionEnd struct {
	conn  *hubconn.Conn
	err   error
	ended bool // its context had ended before it returned
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

// exchanged takes in that the hub has served the one request that this loop is for: to the rules, a good connection that the program closed.
func (l *loop) exchanged(connected event) {
	l.last = lastSeen{dps: l.last.dps}
	l.decide(connected)
	l.decide(event{kind: eventClosed, stable: true, still: true})
	l.finish(nil)
}

// startSession calls the program, once the session before has returned.
func (l *loop) startSession() {
	if l.mode.session == nil || l.session != nil || l.conn == nil {
		return
	}
	conn, run := l.conn, l.mode.session
	l.session = conn
	ctx, cancel := context.WithCancelCause(l.ctx)
	stop := context.AfterFunc(conn.Context(), func() { cancel(context.Cause(conn.Context())) })
	l.running.Go(func() {
		end := sessionEnd{conn: conn, err: errSessionExited}
		defer func() { // deferred, because a session may end its goroutine, as FailNow of package testing does
			stop()
			cancel(nil)
			l.sessions <- end
		}()
		err := run(ctx, conn)
		// The connection is asked too: it ends before a Send that fails returns, and ctx a moment later.
		end.err, end.ended = err, ctx.Err() != nil || conn.Context().Err() != nil
	})
}

func (l *loop) sessionEnded(s sessionEnd) {
	l.session = nil
	switch {
	case !s.ended, errors.Is(context.Cause(s.conn.Context()), hubconn.ErrClosed):
		l.finish(s.err)
	case l.ctx.Err() != nil:
		l.finish(l.interrupted())
	default:
		l.startSession()
	}
}

// ended takes in that the live connection is gone.
func (l *loop) ended() {
	conn := l.conn
	l.conn = nil
	cause := context.Cause(conn.Context())
	if errors.Is(cause, hubconn.ErrClosed) || errors.Is(cause, ErrReprovisioned) {
		l.step(event{kind: eventClosed, stable: isStable(conn)})
		return
	}
	e := event{kind: eventLost, stable: isStable(conn)}
	describeHub(&e, cause)
	l.failed(cause, e.class)
	l.step(e)
}

func isStable(conn *hubconn.Conn) bool {
	stats := conn.Stats()
	return stats.Acknowledged > 0 && time.Since(stats.Since) >= stableAfter
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

// errUnserved tells a caller that the loop it had asked ended first, and to ask the next one.
var errUnserved = errors.New("provisioning: the device stopped before dps had answered")

// errStopped tells a caller, who may be the session, that Run is ending.
var errStopped = errors.New("provisioning: run is ending: the device was not asked")

var errSessionExited = errors.New("provisioning: the session ended its goroutine instead of returning")

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
