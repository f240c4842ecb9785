// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// hubFailure is what the rules need to know of a failure at the hub.
func hubFailure(err error) rules.HubFailure {
	return rules.HubFailure{
		Class: hubconn.ClassOf(err), RetryAfter: retry.After(err), Dates: onlyDates(err),
	}
}

// nameNotFound is about host alone, not about a proxy on the way to it.
func nameNotFound(err error, host string) bool {
	if both, ok := errors.AsType[*unreachedError](err); ok {
		for _, err := range both.errs { // one that got further has found it
			if !nameNotFound(err, host) {
				return false
			}
		}
		return true
	}
	failure, ok := errors.AsType[*net.DNSError](err)
	return ok && failure.IsNotFound && rules.SameHost(strings.TrimSuffix(failure.Name, "."), host)
}

// onlyDates says that a server's certificate failed for no other reason than the time.
func onlyDates(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// hubReach is how far an attempt at the hub got, by its error. A class that is not about the way
// there is the hub's own word.
func hubReach(err error) reach {
	if class := hubconn.ClassOf(err); err == nil ||
		class != hubconn.Unreachable && class != hubconn.Untrusted {
		return answer
	}
	return nobody
}

// dpsReach is how far a request to DPS got, by its error. A 429 or 5xx without the service's marks
// may be that of its front end: no reason to ask twice where it is busy.
func dpsReach(err error) reach {
	failure, ok := errors.AsType[*dps.Error](err)
	if err == nil || ok && (failure.Answered() || failure.Op == "validate" ||
		failure.Status == http.StatusTooManyRequests || failure.Status >= 500) {
		return answer
	}
	return nobody
}

// isForeign says that somebody else responded in place of the service.
func isForeign(err error) bool {
	if failure, ok := errors.AsType[*hubconn.Error](err); ok {
		return failure.Status != 0 && hubReach(err) == nobody
	}
	failure, ok := errors.AsType[*dps.Error](err)
	return ok && failure.Status != 0 && dpsReach(err) == nobody
}

// telling is how much the rules want to know of a failure, where two transports have failed.
func telling(err error) int {
	switch {
	case onlyDates(err):
		return 2
	case retry.After(err) > 0: // such as that of a certificate that does not verify
		return 1
	}
	return 0
}

// dpsFailure is what the rules need to know of a failure at DPS, of a request that began at a time.
func (c *core) dpsFailure(err error, source Source, began time.Time) rules.Event {
	e := rules.DPSFailed{RetryAfter: retry.After(err), Dates: onlyDates(err)}
	failure, ok := errors.AsType[*dps.Error](err)
	if !ok {
		return e
	}
	e.Operation, e.Silent = failure.OperationID, !failure.Answered()
	clockWasWrong := c.clock.learn(failure.Date) || c.clock.mendedSince(began) // whatever DPS says
	e.Dated = c.tellsTime(failure.Date)
	verdict := failure.Verdict()
	switch {
	case verdict == retry.Register && source == SourceLookup:
		return rules.NotRegistered{}
	case verdict == retry.Register:
		e.Failure, e.Operation = rules.DPSOperationUnknown, ""
	case failure.Status == http.StatusTooManyRequests:
		e.Failure = rules.DPSThrottled
	case verdict == retry.Wait:
		e.Failure = rules.DPSUnavailable
	case failure.State != "" && source == SourceLookup:
		e.Failure = rules.DPSNotAssigned
	case failure.Status == http.StatusUnauthorized && c.usesToken:
		e.Failure = c.refusedToken(failure, clockWasWrong)
	default:
		e.Failure = rules.DPSRefused
	}
	return e
}

// refusedToken tells a wrong clock from a wrong key.
func (c *core) refusedToken(failure *dps.Error, clockWasWrong bool) rules.DPSFailure {
	_, doubtful := c.clock.doubts()
	switch {
	case clockWasWrong:
		return rules.DPSClockWrong
	case doubtful || failure.Date.IsZero():
		return rules.DPSClockUnknown
	}
	return rules.DPSRefused
}

// failed counts a failure, and gives up, in due course, if the program said after how many.
func (l *loop) failed(err error, class retry.Class) {
	l.last.err, l.last.class = err, class
	if l.state.Connected && l.conn != nil && l.conn.Context().Err() == nil {
		return // a registration that the program asked for: the connection is fine
	}
	l.outage.failed()
	l.failures++
	if limit := l.maxAttempts; limit > 0 && l.failures >= limit {
		l.patience.exhausted = err
	}
}

// receive takes in the result of a request, unless another has taken its place.
func (l *loop) receive(r result) {
	changed := false
	r.request.end(r)
	l.counts.ClockChecks += r.clockChecks
	l.certificatesStored()
	switch r.request {
	case l.hub:
		l.hub = nil
		changed = learned(l, &l.toHub, r.toHub)
		if !l.hubAnswered(r) {
			return
		}
	case l.dps:
		l.dps = nil
		changed = learned(l, &l.toDPS, r.toDPS)
		l.dpsAnswered(&r)
	case l.renewal:
		l.renewal = nil
		l.renewed(r)
		return
	case l.swap:
		l.swap = nil
		l.swapped(r)
		return
	default:
		if r.conn != nil {
			l.close(r.conn, nil)
		}
		return
	}
	if r.event == nil {
		l.finish(r.err)
		return
	}
	failures := l.counts.StoreFailures
	l.recheck() // the answer may have told the time
	l.step(r.event)
	l.registered(r)
	if _, ok := r.event.(rules.Assigned); ok {
		l.attested(r.credential)
	}
	connected := l.conn != nil && r.conn == l.conn
	if connected {
		l.startSession()
		l.certificateAccepted()
		l.publish()
	}
	if (connected || changed) && l.counts.StoreFailures == failures { // the step has not just tried
		l.rememberUnstored()
	}
}

// hubAnswered says whether the rules are to hear of it.
func (l *loop) hubAnswered(r result) bool {
	if l.purpose == toExchange && r.err == nil {
		l.uses(r.credential, r.refused)
		l.certificateAccepted()
		l.exchanged(r.event)
		return false
	}
	if r.err == nil {
		l.uses(r.credential, r.refused)
		l.patience = patience{}
		l.conn, l.last, l.stable = r.conn, lastFailure{dps: l.last.dps}, false
		l.counts.Connections++
		return true
	}
	l.patience.followUp = false
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
	l.patience.question(r.event)
	if l.device != nil {
		l.deviceAnswered(r)
		return
	}
	switch e := r.event.(type) {
	case rules.Assigned:
		l.toDPSWith.accepted(r.credential, len(r.refused) > 0)
		l.named(knownFrom(e.Assignment))
		e.Stable = l.conn != nil && isStable(l.conn)
		r.event = e
	case rules.DPSFailed:
		l.last.dps = r.err
		l.failed(r.err, l.last.class)
	}
}
