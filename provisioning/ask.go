// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// register registers, or goes on with a registration.
func (l *loop) register(a rules.Register) {
	l.counts.Registrations++
	kind := "register"
	if a.Operation != "" {
		kind = "poll"
	}
	plan := l.toDPS.plan(l.clock.Now(), firstTryTimeout)
	asks := l.certs != nil
	l.requestAssignment(kind, a.Reason, SourceRegistration,
		func(ctx context.Context, as dps.Attestation) (r assigned) {
			registration := dps.Registration{Payload: l.payload, OperationID: a.Operation}
			if r.asked = asks; asks { // a poll wants the request that it is about, too
				request, err := l.certs.request(ctx, as.RegistrationID())
				if err != nil && a.Reason == rules.ReasonRenewal {
					r.err = err // the certificate is all that was wanted
					return r
				}
				if err != nil {
					r.badChain = err // and the assignment is worth having without
				}
				registration.CSR = request.csr
			}
			r.toDPS, r.err = plan.try(ctx, l.dpsHost,
				func(ctx context.Context, over dps.Transport, w *witness) (err error) {
					registration.Pending = func(operation string, wait time.Duration) {
						w.hear()
						l.report(ctx, rules.Progress{Operation: operation, RetryAfter: wait})
					}
					r.assignment, err = l.dpsOver(over, w, as).Register(ctx, registration)
					return err
				}, dpsReach)
			plan = plan.after(r.toDPS)
			return r
		})
}

// assigned is what DPS said where the device belongs, or why it did not.
type assigned struct {
	assignment dps.Assignment
	err        error
	toDPS      attempt[dps.Transport]
	asked      bool  // for a certificate
	badChain   error // why it was not, all the same
}

func (l *loop) lookup(a rules.Lookup) {
	l.counts.Lookups++
	l.requestAssignment("lookup", a.Reason, SourceLookup,
		func(ctx context.Context, as dps.Attestation) (r assigned) {
			client := *l.client
			client.Attestation = as
			r.assignment, r.err = client.Lookup(ctx)
			return r
		})
}

// requestAssignment makes a request that ends with an assignment.
func (l *loop) requestAssignment(
	kind string, why rules.Reason, source Source,
	request func(context.Context, dps.Attestation) assigned,
) {
	told := l.traceRequest(kind, why)
	began := time.Now()
	l.asked, l.own.asked = began, began
	if why == rules.ReasonRejected {
		l.own.located = began
	}
	with := l.toDPSWith
	l.start(&l.dps, func(ctx context.Context) result {
		var a assigned
		var toDPS attempt[dps.Transport]
		used, refused, err := inTurn(ctx, with.order(l.attestations(ctx)),
			func(next credential) error {
				a = request(ctx, next.attestation)
				if toDPS.tried == nil {
					toDPS = a.toDPS
				}
				return a.err
			}, l.dpsRefuses)
		if err != nil {
			return result{event: l.dpsFailure(err, source, began), err: err, toDPS: toDPS}
		}
		l.clock.learn(a.assignment.Date)
		r := result{
			toDPS: toDPS, credential: used, refused: refused, asked: a.asked, badChain: a.badChain,
		}
		l.takeChain(ctx, &a, &r, began)
		k := newKnown(a.assignment, source)
		r.event = rules.Assigned{
			Assignment: k.named(), Dated: l.tellsTime(a.assignment.Date), Issued: r.issued != nil,
		}
		return r
	})
	l.dps.told = told
}

// takeChain takes in the certificate that came with an assignment, before that counts.
func (l *loop) takeChain(ctx context.Context, a *assigned, r *result, began time.Time) {
	chain := a.assignment.IssuedChain
	a.assignment.IssuedChain = nil // it is no part of where the device belongs
	switch {
	case !a.asked || a.badChain != nil:
	case chain == nil:
		l.certs.unissued(ctx)
	default:
		name := r.credential.attestation.RegistrationID()
		r.issued, r.clockChecks, r.badChain = l.adopt(ctx, chain, name, began)
	}
	if r.badChain != nil {
		l.certs.requestFailed(ctx, r.badChain)
	}
}

// adopt takes in a chain. If it does not hold at this time, the clock may be what is wrong: then
// DPS is asked for the time, unless it has told it lately, since a certificate that is turned away
// is lost, and the hub may take nothing else any more. One is turned away only where the time is
// known.
func (c *core) adopt(
	ctx context.Context, chain dps.Chain, name string, began time.Time,
) (got *issued, clockChecks int, err error) {
	got, err = c.certs.adopt(ctx, chain, name, c.clock.Now())
	if !errors.Is(err, dps.ErrNotValidNow) {
		return got, 0, err
	}
	verdict := c.clock.since(began)
	if verdict == rules.ClockUnknown {
		clockChecks++
		told, _ := c.askTime(ctx, began)
		verdict = told.Clock
	}
	switch verdict {
	case rules.ClockCorrected:
		got, err = c.certs.adopt(ctx, chain, name, c.clock.Now())
	case rules.ClockUnknown:
		// Nobody tells the time, as where port 443 is closed. The hub judges by a clock of its own;
		// if it refuses the certificate, the one before it is still there.
		got, err = c.certs.adopt(ctx, chain, name, time.Time{})
	}
	return got, clockChecks, err
}
