package provisioning

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// perform carries out one action of step. Requests run in goroutines of their own and come back as results.
func (l *loop) perform(a action) {
	switch a.kind {
	case actionConnect:
		if !l.noHub {
			l.connect(a)
		}
	case actionCancelConnect:
		l.cancel(&l.hubWork)
	case actionRegister:
		l.askDPS("register", func(ctx context.Context) (dps.Assignment, error) {
			return l.client.Register(ctx, dps.Registration{Payload: l.device.payload(), OperationID: a.operation})
		}, SourceRegistration, a.operation != "")
	case actionLookup:
		l.askDPS("lookup", l.client.Lookup, SourceLookup, false)
	case actionCheckClock:
		l.checkClock()
	case actionCancelDPS:
		l.cancel(&l.dpsWork)
	case actionRemember:
		if err := l.notebook.write(l.ctx, l.state.confirmed, l.state.candidate); err != nil {
			l.storeFailed("the assignment could not be stored", err)
		}
	case actionEndSession:
		if l.conn != nil {
			l.close(l.conn, ErrReprovisioned)
			l.conn = nil
		}
	case actionReply:
		if a.target == nil {
			l.reply(answer{err: l.last.dps})
			return
		}
		l.reply(answer{assignment: a.target.Assignment})
	case actionReplyHeld:
		hold := time.Until(later(l.state.dps.hold, l.state.dps.quiet))
		l.reply(answer{err: &dps.Error{
			Op: "register", Endpoint: l.notebook.endpoint, Status: http.StatusTooManyRequests, Wait: hold,
			Err: fmt.Errorf("not sent: dps is left alone for another %v after its last answer", max(hold.Round(time.Second), time.Second)),
		}})
	}
}

func (l *loop) cancel(w **work) {
	if *w != nil {
		(*w).cancel()
		*w = nil
	}
}

// start runs a request in place of the one in slot.
func (l *loop) start(slot **work, run func(ctx context.Context) result) {
	l.cancel(slot)
	ctx, cancel := context.WithCancel(l.ctx)
	w := &work{cancel: cancel}
	*slot = w
	l.running.Go(func() {
		defer cancel()
		r := run(ctx)
		r.work = w
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

func (l *loop) connect(a action) {
	hub, which := a.target.Target(), a.slot
	l.start(&l.hubWork, func(ctx context.Context) result {
		var conn *hubconn.Conn
		var err error
		if l.exchange != nil {
			err = l.exchange(ctx, hub)
		} else {
			conn, err = l.dialer.Dial(ctx, hub, l.device.Attestation)
		}
		if err == nil {
			return result{event: event{kind: eventConnected, slot: which}, conn: conn}
		}
		e := event{kind: eventHubFailed, slot: which}
		describeHub(&e, err)
		if nameNotFound(err, hub.Host) && l.client.Resolves(ctx) {
			e.class, e.gone = hubconn.Rejected, true
		}
		return result{event: e, err: err}
	})
}

// describeHub tells step what it needs to know of a failure at the hub.
func describeHub(e *event, err error) {
	e.class, e.wait, e.dates = hubconn.ClassOf(err), retry.After(err), onlyDates(err)
}

// nameNotFound is about host alone, not about a proxy on the way to it.
func nameNotFound(err error, host string) bool {
	dns, ok := errors.AsType[*net.DNSError](err)
	return ok && dns.IsNotFound && sameHub(strings.TrimSuffix(dns.Name, "."), host)
}

func (l *loop) askDPS(kind string, ask func(context.Context) (dps.Assignment, error), source Source, poll bool) {
	if source == SourceRegistration {
		l.counts.Registrations++
	} else {
		l.counts.Lookups++
	}
	if poll {
		kind = "poll"
	}
	l.asking(kind)
	l.start(&l.dpsWork, func(ctx context.Context) result {
		a, err := ask(ctx)
		if err == nil {
			return result{event: event{kind: eventAssigned, assignment: &known{Assignment: a, source: source}}}
		}
		return result{event: l.describeDPS(err, source), err: err}
	})
}

// describeDPS tells step what it needs to know of a failure at DPS.
func (l *loop) describeDPS(err error, source Source) event {
	e := event{kind: eventDPSFailed, wait: retry.After(err), dates: onlyDates(err)}
	failure, ok := errors.AsType[*dps.Error](err)
	if !ok {
		return e
	}
	e.operation, e.silent = failure.OperationID, failure.Status == 0 && failure.ReturnCode == 0
	verdict := failure.Verdict()
	switch {
	case verdict == retry.Register && source == SourceLookup:
		return event{kind: eventNotRegistered}
	case verdict == retry.Register:
		e.failure, e.operation = dpsOperationUnknown, ""
	case failure.Status == http.StatusTooManyRequests:
		e.failure = dpsThrottled
	case verdict == retry.Wait:
		e.failure = dpsUnavailable
	case failure.State != "" && source == SourceLookup:
		e.failure = dpsNotAssigned
	case failure.Status == http.StatusUnauthorized && l.tokens:
		e.failure = l.blameClock(failure)
	default:
		e.failure = dpsRefused
	}
	return e
}

func (l *loop) blameClock(failure *dps.Error) dpsFailure {
	switch {
	case failure.Date.IsZero():
		return dpsClockUnknown
	case l.clock.learn(failure.Date):
		return dpsClockWrong
	}
	return dpsRefused
}

func (l *loop) checkClock() {
	l.counts.ClockChecks++
	l.asking("time")
	l.start(&l.dpsWork, func(ctx context.Context) result {
		e := event{kind: eventClock}
		switch now, err := l.client.Time(ctx); {
		case err != nil && l.clock.suspect():
			e.clock = clockSuspect
		case err != nil:
			e.clock = clockUnknown
		case l.clock.learn(now):
			e.clock = clockCorrected
		default:
			e.clock = clockRight
		}
		return result{event: e}
	})
}

func (l *loop) asking(kind string) {
	if l.trace.Asking != nil {
		l.trace.Asking(DPSRequest{Kind: kind, Reason: l.state.dps.reason.String(), Err: l.last.err, Verdict: verdictOf(l.last.err)})
	}
}

func verdictOf(err error) retry.Verdict {
	if err == nil {
		return retry.Wait
	}
	return retry.Classify(err)
}

func (l *loop) tellAssigned(k *known) {
	if l.trace.Assigned != nil {
		l.trace.Assigned(k.Assignment, !l.state.inUse().matches(&k.Assignment))
	}
}

func (l *loop) storeFailed(what string, err error) {
	l.counts.StoreFailures++
	l.log.Warn(what, "cause", err.Error())
	if l.trace.StoreFailed != nil {
		l.trace.StoreFailed(err)
	}
}
