// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"context"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// perform carries out one action of the rules. Requests run in goroutines of their own and come
// back as results.
func (l *loop) perform(a rules.Action) {
	if l.budget != nil && l.granted == nil && l.queues(a) {
		return
	}
	switch a := a.(type) {
	case rules.Connect:
		switch {
		case l.purpose == toHand:
			l.handed = a.Target
		case l.triesHub():
			l.connect(knownFrom(a.Target).Target())
		}
	case rules.CancelConnect:
		l.handed = rules.Assignment{}
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
		l.checkHint(knownFrom(a.Assignment))
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
	case rules.RenewCertificate:
		l.renew()
	case rules.CancelRenewal:
		if l.renewal != nil {
			l.lastRenewal = errRenewalLost
		}
		l.cancel(&l.renewal)
	case rules.ReplyRenewed:
		l.replyTo(&l.renewing, callResult{})
	case rules.ReplyRenewalFailed:
		l.notRenewed(a)
	case rules.GiveUp:
		l.finish(cmp.Or(l.last.err, errRejected))
	}
}

// connect tries a hub.
func (l *loop) connect(hub hubconn.Hub) {
	hub, l.tried = l.identity.at(hub), time.Now()
	began := l.tried
	now := l.clock.Now()
	plan := l.toHub.plan(now, cmp.Or(l.dialer.DialTimeout, firstTryTimeout))
	toDPS := l.toDPS.plan(now, 0)
	former, with := l.former, l.toHubWith
	l.start(&l.hub, func(ctx context.Context) result {
		var r result
		all := with.order(l.hubCredentials(ctx, former))
		r.credential, r.refused, r.err = inTurn(ctx, all, func(next credential) (err error) {
			if l.purpose == toExchange {
				err = l.exchange(ctx, hub, next)
			} else {
				var tried attempt[hubconn.Transport]
				r.conn, tried, err = l.dial(ctx, hub, next, plan)
				if r.toHub.tried == nil {
					r.toHub = tried
				}
				plan = plan.after(tried)
			}
			if next.issued != nil && hubRefuses(err) {
				l.certs.refused(ctx, next.issued)
			}
			return err
		}, hubRefuses)
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
	if l.trace.Attempt != nil {
		l.hub.told = func(r result) {
			l.trace.Attempt(HubAttempt{
				RegistrationID: l.name.device, ModuleID: l.name.module, Hub: hub, Began: began,
				State: cmp.Or(l.attempting, StateConnecting), Conn: r.conn, Err: r.err,
			})
		}
	}
}

func (l *loop) checkClock(a rules.CheckClock) {
	l.counts.ClockChecks++
	told := l.traceRequest("time", a.Reason)
	l.own.asked = time.Now()
	if a.Reason == rules.ReasonRejected {
		l.own.checked = l.own.asked
	}
	used := l.tried
	if l.state.DPS.Clock == rules.ClockForDPS {
		used = l.asked
	}
	l.start(&l.dps, func(ctx context.Context) result {
		e, err := l.askTime(ctx, used)
		return result{event: e, err: err}
	})
	l.dps.told = told
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

// traceRequest tells of a request that begins. What it returns tells how that has ended.
func (l *loop) traceRequest(kind string, why rules.Reason) (told func(result)) {
	if l.trace.Request == nil && l.trace.Response == nil {
		return nil
	}
	r := DPSRequest{
		RegistrationID: l.name.device, Endpoint: l.dpsHost, Kind: kind, Reason: l.why(why),
		Err: l.last.err, Verdict: retry.Wait,
	}
	if r.Err != nil {
		r.Verdict = retry.Classify(r.Err)
	}
	if l.trace.Request != nil {
		l.trace.Request(r)
	}
	if l.trace.Response == nil {
		return nil
	}
	began := time.Now()
	return func(as result) {
		l.trace.Response(DPSResponse{Request: r, Began: began, Err: as.err})
	}
}

// checkHint says once that DPS has said wrongly how to spread a fleet's questions.
func (l *loop) checkHint(k *known) {
	if err := k.badHint; err != nil && l.device == nil && l.isNews(err.Error()) {
		l.line(slog.LevelWarn, "stagger of dps not used", failureAttrs(err)...)
	}
}

func (l *loop) remember(a rules.Remember) {
	// The end of ctx does not cut it short: what DPS has said would be lost. The store has a limit.
	ctx := context.WithoutCancel(l.ctx)
	err := l.store.write(ctx, knownFrom(a.Confirmed), knownFrom(a.Candidate))
	if err != nil {
		l.storeFailed("assignment not stored", err)
	} else if e := l.store.last; e != nil {
		l.clock.remember(e.Saved)
	}
}

// rememberUnstored makes up for a write that failed, such as one to a full disk, and for one that
// was made by a clock that was wrong, or before the network was known.
func (l *loop) rememberUnstored() {
	l.storeCertificates()
	if l.store.unstored || l.store.savedAhead() || l.store.fallbackIsNews() {
		l.remember(rules.Remember{Confirmed: l.state.Confirmed, Candidate: l.state.Candidate})
	}
}

func (c *core) storeFailed(what string, err error) {
	c.counts.StoreFailures++
	level := slog.LevelWarn
	if !c.isNews(what + causeOf(err)) {
		level = slog.LevelInfo
	}
	c.line(level, what, failureAttrs(err)...)
	if c.trace.StoreFailed != nil {
		c.trace.StoreFailed(StoreFailure{
			RegistrationID: c.name.device, ModuleID: c.name.module, Err: err,
		})
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
