// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// own is what is kept for an MQTT client of the program's own, which the rules drive as they drive
// the connections of Run: it is told what to try, and tells what became of that.
type own struct {
	_         [0]func()        // nobody compares two, and no device has the code for that
	state     State            // what it does, as far as it has told; empty: nothing
	target    rules.Assignment // that was handed out last, or confirmed
	handed    time.Time        // when: its token is of then
	confirmed time.Time        // since when the hub accepts it; zero: it does not
	stable    bool             // it has lasted
	beside    rules.Assignment // what DPS had named instead by then
	moved     bool             // DPS has named another since: of ownSeen
	asked     time.Time        // when DPS was last asked for anything
	located   time.Time        // when it was last asked about a rejection
	checked   time.Time        // when it was last asked for the time because of one
	tally     tally
}

// NextAttempt returns the hub that an MQTT client of the program's own is to try now, by the same
// rules as Run. It waits until a try is allowed, asks DPS where the device belongs when that is
// called for, and returns when DPS has responded. The loop of such a program is
//
//	for {
//		a, err := dev.NextAttempt(ctx)
//		if err != nil {
//			return err
//		}
//		if err := connect(ctx, a); err != nil {
//			if _, err := dev.Rejected(ctx, a, err); err != nil {
//				return err
//			}
//			continue
//		}
//		if err := dev.Confirm(ctx, a); err != nil { … } // after an acknowledgement
//		… // until the connection ends: Rejected, or Closed
//	}
//
// What such a client says at CONNECT is [hubconn.Hub.ClientID] and [hubconn.Dialer.Username] of
// a.Target(), and [Device.Token] if it has no certificate. An attempt of which nothing was reported
// counts as one that nobody answered when NextAttempt is called again.
//
// It ends as Send does: when ctx does; with a [TooSoonError] as soon as the next try, or the next
// request to DPS, lies behind the deadline of ctx; with the last failure when Retry.MaxAttempts is
// reached. It may be called by several goroutines, of which each gets an attempt: use one. While
// Run or Connect is under way it returns [ErrRunning]; they, Send and Receive end what is kept of a
// client of the program's own.
//
// The client shows the hub the Attestation. What Issuance has issued, and SecondAttestation, are
// for the connections that a Device makes itself.
func (d *Device) NextAttempt(ctx context.Context) (dps.Assignment, error) {
	c, err := d.acquire(ctx, holderRequest)
	if err != nil {
		return dps.Assignment{}, err
	}
	defer c.lease.release()
	if c.own.state != "" {
		if err := c.drive(ctx, task{purpose: toReport, hear: (*loop).unreported}); err != nil {
			return dps.Assignment{}, err
		}
	}
	if err := c.drive(ctx, task{purpose: toHand}); err != nil {
		return dps.Assignment{}, err
	}
	return knownFrom(c.own.target).Assignment, nil
}

// Confirm reports that the hub has accepted the program's own client at an assignment, which is
// stored as the one that works. Call it when the hub has acknowledged the first packet after its
// CONNACK (a SUBACK, a PUBACK), and again as often as it acknowledges one: past failures are
// forgotten by a call 30 s or more after the first, as they are with a connection of Run; all
// others cost nothing. [ErrReprovisioned] says that DPS has named another hub since, as after a
// Reprovision: close the connection, report that by Closed, and NextAttempt leads there.
func (d *Device) Confirm(ctx context.Context, a dps.Assignment) error {
	if known, err := d.confirmed(a); known {
		return err
	}
	return d.report(ctx, a, func(l *loop, target rules.Assignment) {
		switch {
		case !target.Known():
			l.finish(ErrReprovisioned)
		case !l.own.at(target) || l.own.confirmed.IsZero():
			l.confirm(target)
		case !l.own.stable && time.Since(l.own.confirmed) >= stableAfter:
			l.own.stable, l.tally = true, tally{}
			l.ended(target, rules.Closed{Stable: true})
		}
	})
}

// confirmed says that to confirm an assignment once more is no news, and what the answer is.
func (d *Device) confirmed(a dps.Assignment) (known bool, err error) {
	c, err := d.prepare()
	if err != nil {
		return true, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	o := &c.ownSeen
	switch {
	case o.state != StateConnected || !o.at(assignmentOf(a)):
		return false, nil
	case o.moved:
		return true, ErrReprovisioned
	}
	return o.stable || time.Since(o.confirmed) < stableAfter, nil
}

// Rejected reports that the program's own client was turned away by the hub of an assignment, has
// not reached it, or has lost a connection that was confirmed: whatever went wrong that the program
// did not want. What that calls for is decided by its class ([hubconn.ClassOf]): a refusal by
// CONNACK is told as a *[hubconn.Error] with a Class of [hubconn.ClassOfReturnCode], an error of
// the network or of crypto/tls as it is. Its RetryAfter, if it has one, is honoured.
//
// It returns when NextAttempt has something to do next, by the monotonic clock of this process: a
// hub to try, or DPS to ask. A program that is to sleep until then may also end: what is waited for
// outlives it as it does with Run. The error has the reported one in its tree where AfterRejection
// or Retry.MaxAttempts says that the device gives up; that of ctx; or ErrRunning. A report about an
// assignment that the device does not hold any more changes nothing.
func (d *Device) Rejected(
	ctx context.Context, a dps.Assignment, failure error,
) (next time.Time, err error) {
	if failure == nil {
		return next, invalid(errors.New("failure is nil: pass the error, or call Closed"))
	}
	err = d.report(ctx, a, func(l *loop, target rules.Assignment) {
		if target.Known() {
			l.rejected(target, &reportedError{failure})
		}
		l.own.left(a)
		next, _ = l.state.Wake()
	})
	return next, err
}

// reportedError is an error of the program's own client: in one line, and one that can be compared
// whatever it is.
type reportedError struct{ err error }

func (e *reportedError) Error() string { return oneline.Of(e.err.Error(), causeMax) }
func (e *reportedError) Unwrap() error { return e.err }

// Closed reports that the program has closed its own client's connection, or has given up the
// attempt, for reasons of its own. A connection that was confirmed counts as one that worked,
// however short it was: devices that wake, send and sleep have no other.
func (d *Device) Closed(ctx context.Context, a dps.Assignment) error {
	return d.report(ctx, a, func(l *loop, target rules.Assignment) {
		if target.Known() && l.own.at(target) && !l.own.confirmed.IsZero() {
			l.tally = tally{}
			l.ended(target, rules.Closed{Stable: true})
		}
		l.own.left(a)
	})
}

// Now is the time by the clock that tokens and certificates of the device are judged by: the
// system's, corrected by what DPS has told (see the package documentation). A program with an MQTT
// client of its own sets it as the Time of its [crypto/tls.Config]. Before the first other call it
// is the system's time.
func (d *Device) Now() time.Time {
	c, err := d.prepare()
	if err != nil {
		return time.Now()
	}
	return c.clock.Now()
}

// Token returns a SAS token of the Attestation for the hub of an assignment, which ends ttl after
// Now: the password of the program's own client. A ttl of 0 is Hub.TokenTTL, or an hour. It is ""
// for an attestation that is a certificate. The hub ends a connection when its token does (Azure
// docs: "Control access to IoT Hub with shared access signatures"): make another, and connect again
// with it, before that.
func (d *Device) Token(
	ctx context.Context, a dps.Assignment, ttl time.Duration,
) (string, error) {
	c, err := d.prepare()
	if err != nil {
		return "", err
	}
	expiry := c.clock.Now().Add(cmp.Or(ttl, c.dialer.TokenTTL, time.Hour))
	return c.attestations(ctx)[0].Token(ctx, a.Target().Resource(), expiry)
}

// report takes in what the program's own client has to tell about an assignment. what is called
// with the assignment that the device holds in its place, none if it does not any more.
func (d *Device) report(
	ctx context.Context, a dps.Assignment, what func(*loop, rules.Assignment),
) error {
	c, err := d.acquire(ctx, holderReport)
	if err != nil {
		return err
	}
	defer c.lease.release()
	named := assignmentOf(a)
	ctx = context.WithoutCancel(ctx) // what has happened has happened
	return c.drive(ctx, task{purpose: toReport, hear: func(l *loop) {
		for _, held := range [...]rules.Assignment{l.state.Candidate, l.state.Confirmed} {
			if held.SameAs(named) {
				what(l, held)
				return
			}
		}
		what(l, rules.Assignment{})
	}})
}

// at says that an assignment is the one that was handed out.
func (o *own) at(a rules.Assignment) bool { return o.target.SameAs(a) }

// left forgets the client's attempt or connection at an assignment, unless it was one before.
func (o *own) left(a dps.Assignment) {
	if o.at(assignmentOf(a)) {
		o.forget()
	}
}

// forget leaves nothing to report.
func (o *own) forget() {
	*o = own{handed: o.handed, asked: o.asked, located: o.located, checked: o.checked,
		tally: o.tally}
}

// assignmentOf is a program's assignment as the rules know it.
func assignmentOf(a dps.Assignment) rules.Assignment { return newKnown(a, "").named() }

// ownMoved says that DPS has named another hub since the program's own client was confirmed, and
// that nothing keeps the device from going there.
func (c *core) ownMoved() bool {
	next := c.state.Candidate
	return c.own.state == StateConnected && next.Known() && !next.Incompatible &&
		!next.SameAs(c.own.target) && !next.SameAs(c.own.beside) &&
		!c.state.NotBefore(next.Hub).After(time.Now())
}

// takeOverFromOwn begins where the calls for the program's own client have left off, or ends that.
func (l *loop) takeOverFromOwn() {
	switch l.purpose {
	case toHand, toReport:
		l.tally, l.tried = l.own.tally, l.own.handed
	case toRun, toConnect, toExchange:
		l.own.forget()
		l.own.tally = tally{}
	}
}

// leaveToOwn keeps what counts beyond this call. Who was told to give up begins anew.
func (l *loop) leaveToOwn() {
	if l.purpose != toHand && l.purpose != toReport {
		return
	}
	l.own.tally = l.tally
	if l.outcome != nil && l.outcome == l.patience.exhausted {
		l.own.tally = tally{}
	}
}

// handsOver ends NextAttempt when there is something to try, and DPS is asked for nothing: what it
// says may change that. A question that waits for its turn may do so for long.
func (l *loop) handsOver() bool {
	if !l.handed.Known() || l.dps != nil && l.dps.queued == nil {
		return false
	}
	l.own.forget()
	l.own.state, l.own.target, l.own.handed = StateConnecting, l.handed, time.Now()
	return true
}

// confirm is to the rules a connection, which the program closes for now: nobody drives the device
// while it lasts.
func (l *loop) confirm(target rules.Assignment) {
	l.own.forget()
	l.own.state, l.own.target = StateConnected, target
	l.own.confirmed, l.own.beside = time.Now(), l.state.Candidate
	l.patience, l.last = patience{}, lastFailure{dps: l.last.dps}
	l.counts.Connections++
	l.ended(target, rules.Closed{})
}

// ended is how a connection ends that the hub had accepted.
func (l *loop) ended(target rules.Assignment, e rules.Event) {
	l.apply(rules.Attempted{Assignment: target})
	l.apply(rules.Connected{})
	l.applyEnd(e)
	l.hubless = l.own.state == StateConnected // no try is planned
}

// unreported is what becomes of an attempt, or of a connection, whose end nobody has told.
func (l *loop) unreported() {
	l.rejected(l.own.target, errUnreported)
	l.own.forget()
}

var errUnreported = errors.New("provisioning: nobody has reported what became of the attempt: " +
	"call Confirm, Rejected or Closed")

// rejected takes in a failure of the program's own client.
func (l *loop) rejected(target rules.Assignment, err error) {
	f := hubFailure(err)
	f.NameNotFound = nameNotFound(err, target.Hub) &&
		l.dpsResolves(l.ctx, l.toDPS.plan(l.clock.Now(), 0))
	if since := l.own.confirmed; l.own.at(target) && !since.IsZero() {
		e := rules.Lost{HubFailure: f, Stable: l.own.stable || time.Since(since) >= stableAfter}
		l.countLost(err, e)
		l.ended(target, e)
	} else {
		if !l.own.at(target) { // from Assignment
			l.own.handed = time.Now()
		}
		l.failed(err, f.Class)
		l.apply(rules.Attempted{Assignment: target})
		l.apply(f)
	}
	l.spaceQuestions()
	if l.givesUp(time.Now()) {
		l.finish(l.patience.exhausted)
	}
}

// spaceQuestions keeps a program that reports wrongly, or gives up each call at once, from asking
// DPS more often than any device may. Where all is well it changes nothing: two questions are not
// that close.
func (l *loop) spaceQuestions() {
	d, gap := &l.state.DPS, rules.RejectionGaps[1]
	if d.Phase != rules.Waiting {
		return
	}
	after := func(last time.Time, distance time.Duration) {
		if at := last.Add(distance); !last.IsZero() && at.After(d.At) {
			d.At = at
		}
	}
	after(l.own.asked, rules.DPSFloor)
	if d.Reason == rules.ReasonRejected {
		after(l.own.located, gap)
		if d.Clock != rules.ClockForNone {
			after(l.own.checked, gap)
		}
	}
}
