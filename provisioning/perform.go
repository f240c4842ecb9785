package provisioning

import (
	"cmp"
	"context"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// perform carries out one action of the rules. Requests run in goroutines of their own and come
// back as results.
func (l *loop) perform(a rules.Action) {
	switch a := a.(type) {
	case rules.Connect:
		if l.triesHub() {
			l.connect(knownFrom(a.Target).Target())
		}
	case rules.CancelConnect:
		l.cancel(&l.hub)
	case rules.Register:
		if l.device != nil {
			l.askDevice(a.Reason, true)
			return
		}
		l.register(a)
	case rules.Lookup:
		if l.device != nil {
			l.askDevice(a.Reason, false)
			return
		}
		l.lookup(a)
	case rules.CheckClock:
		if l.device != nil {
			l.askDeviceForTime()
			return
		}
		l.checkClock(a)
	case rules.CancelDPS:
		l.cancel(&l.dps)
	case rules.Announce:
		if l.trace.Assigned != nil {
			l.trace.Assigned(knownFrom(a.Assignment).Assignment, a.Moved)
		}
	case rules.Remember:
		l.remember(a)
	case rules.EndSession:
		if l.conn != nil {
			l.close(l.conn, ErrReprovisioned)
			l.conn = nil
		}
	case rules.ReplyAssigned:
		l.reply(callResult{assignment: knownFrom(a.Assignment).Assignment})
	case rules.ReplyFailed:
		l.reply(callResult{err: l.last.dps})
	case rules.ReplyTooSoon:
		l.reply(callResult{err: &TooSoonError{Wait: time.Until(a.NotBefore)}})
	case rules.GiveUp:
		l.finish(cmp.Or(l.last.err, errRejected))
	}
}

// A request is one that is under way.
type request struct {
	cancel context.CancelFunc
}

// result is what became of a request.
type result struct {
	request *request
	event   rules.Event
	conn    *hubconn.Conn
	err     error
	toHub   attempt[hubconn.Transport]
	toDPS   attempt[dps.Transport]
}

func (l *loop) cancel(r **request) {
	if *r != nil {
		(*r).cancel()
		*r = nil
	}
}

// start runs a request in place of the one in slot.
func (l *loop) start(slot **request, run func(ctx context.Context) result) {
	l.cancel(slot)
	ctx, cancel := context.WithCancel(l.ctx)
	started := &request{cancel: cancel}
	*slot = started
	l.running.Go(func() {
		defer cancel()
		r := run(ctx)
		r.request = started
		if ctx.Err() != nil && r.conn == nil {
			return // what failed because it was cut short is no failure
		}
		select {
		case l.results <- r:
		case <-ctx.Done():
			if r.conn != nil {
				_ = r.conn.Close()
			}
		}
	})
}

// connect tries a hub.
func (l *loop) connect(hub hubconn.Hub) {
	hub, l.tried = l.identity.at(hub), time.Now()
	now := l.clock.Now()
	plan := l.toHub.plan(now, cmp.Or(l.dialer.DialTimeout, firstTryTimeout))
	toDPS := l.toDPS.plan(now, 0)
	l.start(&l.hub, func(ctx context.Context) result {
		var r result
		if l.purpose == toExchange {
			r.err = l.exchange(ctx, hub)
		} else {
			r.conn, r.toHub, r.err = l.dial(ctx, hub, plan)
		}
		if r.err == nil {
			r.event = rules.Connected{}
			return r
		}
		failure := hubFailure(r.err)
		failure.NameNotFound = l.device == nil && nameNotFound(r.err, hub.Host) &&
			l.dpsResolves(ctx, toDPS)
		r.event = failure
		return r
	})
}

func (l *loop) register(a rules.Register) {
	l.counts.Registrations++
	kind := "register"
	if a.Operation != "" {
		kind = "poll"
	}
	plan := l.toDPS.plan(l.clock.Now(), firstTryTimeout)
	l.requestAssignment(kind, a.Reason, SourceRegistration,
		func(ctx context.Context) (r assigned) {
			r.toDPS, r.err = plan.try(ctx, l.dpsHost,
				func(ctx context.Context, over dps.Transport, w *witness) (err error) {
					r.assignment, err = l.dpsOver(over, w).Register(ctx, dps.Registration{
						Payload: l.payload, OperationID: a.Operation,
						Pending: func(operation string, wait time.Duration) {
							w.hear()
							l.report(ctx, rules.Progress{Operation: operation, RetryAfter: wait})
						},
					})
					return err
				}, dpsReach)
			return r
		})
}

// assigned is what DPS said where the device belongs, or why it did not.
type assigned struct {
	assignment dps.Assignment
	err        error
	toDPS      attempt[dps.Transport]
}

func (l *loop) lookup(a rules.Lookup) {
	l.counts.Lookups++
	l.requestAssignment("lookup", a.Reason, SourceLookup,
		func(ctx context.Context) (r assigned) {
			r.assignment, r.err = l.client.Lookup(ctx)
			return r
		})
}

// requestAssignment makes a request that ends with an assignment.
func (l *loop) requestAssignment(
	kind string, why rules.Reason, source Source,
	request func(context.Context) assigned,
) {
	l.traceRequest(kind, why)
	began := time.Now()
	l.asked = began
	l.start(&l.dps, func(ctx context.Context) result {
		if err := l.admit(ctx); err != nil {
			return result{event: rules.DPSFailed{Silent: true}, err: err}
		}
		a := request(ctx)
		if a.err != nil {
			return result{event: l.dpsFailure(a.err, source, began), err: a.err, toDPS: a.toDPS}
		}
		l.clock.learn(a.assignment.Date)
		k := &known{Assignment: a.assignment, source: source}
		return result{toDPS: a.toDPS, event: rules.Assigned{
			Assignment: k.named(), Dated: l.tellsTime(a.assignment.Date),
		}}
	})
}

func (l *loop) checkClock(a rules.CheckClock) {
	l.counts.ClockChecks++
	l.traceRequest("time", a.Reason)
	used := l.tried
	if l.state.DPS.Clock == rules.ClockForDPS {
		used = l.asked
	}
	l.start(&l.dps, func(ctx context.Context) result {
		if l.admit(ctx) != nil {
			return result{event: rules.ClockAnswered{Clock: rules.ClockUnknown}}
		}
		return result{event: rules.ClockAnswered{Clock: l.askTime(ctx, used)}}
	})
}

// admit waits for the limiter, which other devices may share.
func (l *loop) admit(ctx context.Context) error {
	if l.limiter == nil {
		return nil
	}
	return l.limiter.Wait(ctx)
}

// progress is what has become known of a request under way, which lasts as long as ctx.
type progress struct {
	ctx   context.Context
	event rules.Event
}

// report hands on what has become known of a request under way.
func (l *loop) report(ctx context.Context, e rules.Event) {
	select {
	case l.progress <- progress{ctx, e}:
	case <-ctx.Done():
	}
}

// why is the reason for a request to DPS, with the program's own if it has asked for it.
func (c *core) why(reason rules.Reason) string {
	if c.device != nil && reason == rules.ReasonBoot {
		return "the device has no assignment yet"
	}
	if reason != rules.ReasonManual || c.manualReason == "" {
		return reason.String()
	}
	return reason.String() + ": " + c.manualReason
}

func (l *loop) traceRequest(kind string, why rules.Reason) {
	if l.trace.Request == nil {
		return
	}
	r := DPSRequest{Kind: kind, Reason: l.why(why), Err: l.last.err, Verdict: retry.Wait}
	if r.Err != nil {
		r.Verdict = retry.Classify(r.Err)
	}
	l.trace.Request(r)
}

func (l *loop) remember(a rules.Remember) {
	// The end of ctx does not cut it short: what DPS has said would be lost. The store has a limit.
	ctx := context.WithoutCancel(l.ctx)
	err := l.store.write(ctx, knownFrom(a.Confirmed), knownFrom(a.Candidate))
	if err != nil {
		l.storeFailed("the assignment could not be stored", err)
	} else if e := l.store.last; e != nil {
		l.clock.remember(e.Saved)
	}
}

// rememberUnstored makes up for a write that failed, such as one to a full disk, and for one that
// was made by a clock that was wrong, or before the network was known.
func (l *loop) rememberUnstored() {
	if l.store.unstored || l.store.savedAhead() || l.store.fallbackIsNews() {
		l.remember(rules.Remember{Confirmed: l.state.Confirmed, Candidate: l.state.Candidate})
	}
}

func (c *core) storeFailed(what string, err error) {
	c.counts.StoreFailures++
	c.log.Warn(what, "cause", err.Error())
	if c.trace.StoreFailed != nil {
		c.trace.StoreFailed(err)
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
