// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Parts of a certificate's life, from its beginning, between which each moment is drawn.
const (
	renewFrom, renewTo       = 0.60, 0.80 // over the hub
	registerFrom, registerTo = 0.85, 0.95 // by a registration, if that has not worked
)

// unissuedAfter is after how long DPS is asked for a certificate again, of a device that has one
// which is about to expire, where it has issued none.
const unissuedAfter = 24 * time.Hour

// badChainAfter is after how long another certificate is asked for, where one was no good.
const badChainAfter = time.Hour

// leastAnswerTime is how long a hub has to issue a certificate, even if DPS could be asked sooner.
const leastAnswerTime = 10 * time.Minute

// certificateCheck is after how long the moments of a certificate are worked out anew: the clock
// may have been set. sourceCheck is after how long a source is asked whether it cannot read what is
// new.
const (
	certificateCheck = time.Hour
	sourceCheck      = 5 * time.Minute
)

// recheckAfter is when to look again, if nothing else happens; 0: there is nothing to look at.
func (c *core) recheckAfter() time.Duration {
	_, source := c.store.owner.attestation.(dps.Source)
	switch {
	case source && c.device == nil:
		return sourceCheck
	case c.certs != nil:
		return certificateCheck
	}
	return 0
}

// moments are when to renew a certificate, when to register for one instead, and when it expires.
// They are drawn from the certificate itself: each restart draws the same, and a fleet is spread.
func (i *issued) moments() (renew, register, expires time.Time) {
	begin, end := i.leaf.NotBefore, i.leaf.NotAfter
	life := float64(end.Sub(begin))
	sum := sha256.Sum256(i.leaf.Raw)
	at := func(from, to float64, draw []byte) time.Time {
		u := float64(binary.BigEndian.Uint32(draw)) / (1 << 32)
		return begin.Add(time.Duration((from + (to-from)*u) * life))
	}
	return at(renewFrom, renewTo, sum[:4]), at(registerFrom, registerTo, sum[4:8]), end
}

// installed is what the rules need to know of the certificates: by the monotonic clock, as far as
// the time is known. Where none is held although one may be issued, it is due.
func (c *core) installed() rules.Installed {
	now, clock := time.Now(), c.clock.Now()
	newest, known := c.certs.newest()
	unissued := c.certs.isUnissued()
	switch {
	case unissued && (newest == nil || clock.After(newest.leaf.NotAfter)):
		return rules.Installed{} // there is nothing to renew
	case newest == nil:
		at := later(now, c.holdOff)
		return rules.Installed{RenewAt: at, RegisterAt: at, Expires: at.AddDate(neverYears, 0, 0)}
	}
	on := func(t time.Time) time.Time { return newest.on(t, clock) }
	renew, register, expires := newest.moments()
	return rules.Installed{
		RenewAt:    later(later(on(renew), c.overdueAt), c.holdOff),
		RegisterAt: later(on(register), c.holdOff), Expires: on(expires),
		Fresh: !known.Accepted && !known.Refused,
	}
}

// neverYears is when what there is not expires.
const neverYears = 100

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// recheck tells the rules of the certificates again, if the clock shows another time since.
func (l *loop) recheck() {
	if l.certs == nil || l.installedAs.Expires.IsZero() {
		return
	}
	if is := l.installed(); is.Expires.Sub(l.installedAs.Expires).Abs() > skewTolerance {
		l.tellInstalled()
	}
}

// tellInstalled tells the rules of the certificates as they are. What is due is started by the next
// turn.
func (l *loop) tellInstalled() {
	l.installedAs = l.installed()
	l.apply(l.installedAs)
}

// notRenewed tells those who asked for a certificate why they have none.
func (l *loop) notRenewed(a rules.ReplyRenewalFailed) {
	err := cmp.Or(l.lastRenewal, l.last.dps, errNotRenewed)
	if !a.NotBefore.IsZero() {
		err = &TooSoonError{Wait: time.Until(a.NotBefore)}
	}
	l.replyTo(&l.renewing, callResult{err: err})
}

// renew asks the hub for a certificate over the live connection, and moves that to it.
func (l *loop) renew() {
	conn := l.conn
	l.counts.Renewals++
	limit := max(time.Until(l.installedAs.RegisterAt), leastAnswerTime)
	l.start(&l.renewal, func(ctx context.Context) result {
		ctx, cancel := context.WithTimeoutCause(ctx, limit, errSlowHub)
		defer cancel()
		if conn == nil {
			return result{event: rules.RenewalFailed{Silent: true}, err: errNoConnection}
		}
		got, checks, err := l.askHub(ctx, conn)
		if err != nil {
			return result{event: renewalFailure(err), err: err, clockChecks: checks}
		}
		next := credential{Credential: got, kind: CredentialIssued, issued: got}
		return result{
			event: rules.Renewed{}, credential: next, err: conn.SetCredential(ctx, next),
			clockChecks: checks,
		}
	})
}

var (
	errNoConnection = errors.New("there is no connection")
	errRenewalLost  = errors.New("the connection ended before the hub had issued a certificate")
	errSlowHub      = errors.New("the hub has not issued a certificate in time")
	errNotRenewed   = errors.New("no certificate issued")
)

// askHub has a hub issue a certificate. A request that an earlier process has made goes on; one
// that nobody here knows of gives way.
func (c *core) askHub(
	ctx context.Context, conn *hubconn.Conn,
) (got *issued, clockChecks int, err error) {
	name, began := conn.Hub().DeviceID, time.Now()
	request, err := c.certs.request(ctx, name)
	if err != nil {
		return nil, 0, err
	}
	ask := hubconn.CertificateRequest{ID: request.id, CSR: request.csr}
	chain, err := conn.IssueCertificate(ctx, ask)
	failure, refused := errors.AsType[*hubconn.Error](err)
	if refused && failure.Status == http.StatusConflict {
		ask.Replace = "*"
		chain, err = conn.IssueCertificate(ctx, ask)
		failure, refused = errors.AsType[*hubconn.Error](err)
	}
	if err != nil {
		if refused && failure.Status != 0 {
			c.certs.requestFailed(ctx, err)
		}
		return nil, 0, err
	}
	got, clockChecks, err = c.adopt(ctx, chain, name, began)
	if err != nil {
		c.certs.requestFailed(ctx, err)
	}
	return got, clockChecks, err
}

// renewalFailure is what the rules need to know of it.
func renewalFailure(err error) rules.RenewalFailed {
	e := rules.RenewalFailed{RetryAfter: retry.After(err)}
	failure, ok := errors.AsType[*hubconn.Error](err)
	switch {
	case !ok:
	case failure.Status == 0:
		e.Silent = true
	case failure.Status == http.StatusNotFound, failure.Status == http.StatusBadRequest,
		failure.Code == 403010, failure.Code == 412005:
		e.Unavailable = true // it will say the same the next time
	}
	return e
}

// renewed takes in what came of a renewal over the hub.
func (l *loop) renewed(r result) {
	l.lastRenewal = r.err
	if r.credential.issued == nil {
		l.line(slog.LevelWarn, "certificate not renewed by the hub",
			failureAttrs(r.err)...)
		l.step(r.event)
		return
	}
	l.installedAs, l.toHubWith = l.installed(), preference{}
	if r.err == nil {
		l.uses(r.credential, nil)
		l.certificateAccepted()
	} else {
		l.notTaken(r.credential, r.err)
		l.replyTo(&l.renewing, callResult{err: r.err})
	}
	l.logIssued(r.credential.issued)
	l.step(rules.Renewed{Installed: l.installedAs})
}

// registered takes in what a registration has brought besides the assignment: a certificate, none,
// or one that is no good.
func (l *loop) registered(r result) {
	switch {
	case l.certs == nil || !r.asked:
		return
	case r.issued != nil:
		l.lastRenewal, l.holdOff = nil, time.Time{}
		l.toHubWith = preference{} // what was refused was another
		l.logIssued(r.issued)
	case r.badChain != nil:
		l.lastRenewal = r.badChain
		l.holdOff = time.Now().Add(badChainAfter)
		l.line(slog.LevelWarn, "issued certificate not used",
			failureAttrs(r.badChain)...)
	default:
		l.lastRenewal, l.holdOff = errUnissued, time.Now().Add(unissuedAfter)
		l.line(slog.LevelWarn, "no certificate issued", failureAttrs(errUnissued)...)
	}
	l.tellInstalled()
	l.publish()
	if r.issued != nil {
		l.swapTo(credential{Credential: r.issued, kind: CredentialIssued, issued: r.issued})
	}
}

var errUnissued = errors.New("dps issues no certificate: the enrollment has no certificate " +
	"policy; the device goes on with its attestation")

func (l *loop) logIssued(i *issued) {
	renew, _, expires := i.moments()
	l.line(slog.LevelInfo, "certificate issued",
		slog.Time("valid_until", expires.UTC().Truncate(time.Second)),
		slog.Time("renew_at", renew.UTC().Truncate(time.Second)))
}

// swapTo moves the live connection to a credential, while the session goes on.
func (l *loop) swapTo(next credential) {
	conn := l.conn
	same := next.issued != nil && next.issued == l.using.issued
	if conn == nil || conn.Context().Err() != nil || same {
		return
	}
	l.start(&l.swap, func(ctx context.Context) result {
		return result{credential: next, err: conn.SetCredential(ctx, next)}
	})
}

// swapped takes in whether the hub has taken the new credential of a live connection.
func (l *loop) swapped(r result) {
	if r.err != nil {
		l.notTaken(r.credential, r.err)
		l.publish()
		return
	}
	l.uses(r.credential, nil)
	l.certificateAccepted()
	l.publish()
}

func (l *loop) notTaken(c credential, err error) {
	l.lastRenewal = err
	l.line(slog.LevelWarn, "new credential not taken",
		append(failureAttrs(err), slog.String("credential", string(c.kind)))...)
}

// uses notes with which credential the hub has accepted the device, and why not with another.
func (l *loop) uses(c credential, refused []error) {
	why := ""
	if len(refused) > 0 {
		why = oneline.Of((&refusedError{refused}).Error(), causeMax)
	}
	if l.device == nil && (c.kind != l.using.kind || why != l.usingWhy) &&
		(l.certs != nil || c.kind != CredentialAttestation || l.using.kind != "") {
		attrs := []slog.Attr{slog.String("credential", string(c.kind))}
		if why != "" {
			attrs = append(attrs, failureAttrs(&refusedError{refused})...)
		}
		l.line(slog.LevelInfo, "credential in use", attrs...)
	}
	l.using, l.usingWhy = c, why
	l.toHubWith.accepted(c, len(refused) > 0)
	if c.kind == CredentialAttestation {
		l.former = nil
	}
}

// certificateAccepted notes that the hub has accepted the one in use: those before it go.
func (l *loop) certificateAccepted() {
	if l.using.issued == nil {
		return
	}
	if newest, known := l.certs.newest(); newest == l.using.issued && !known.Accepted {
		l.lastRenewal = nil // whatever it was about has worked out
	}
	l.certs.accepted(l.ctx, l.using.issued)
	l.certificatesStored()
	l.reportValidity()
}

// reportTimeout is how long a hub has to take in how long a certificate is valid.
const reportTimeout = 5 * time.Minute

// reportValidity has the twin show how long the certificate in use is valid, once.
func (l *loop) reportValidity() {
	conn, pair := l.conn, l.using.issued
	if !l.issuance.ReportValidity || conn == nil || !l.certs.unreported(pair) {
		return
	}
	l.running.Go(func() {
		ctx, cancel := context.WithTimeout(conn.Context(), reportTimeout)
		defer cancel()
		_, err := conn.Report(ctx, map[string]any{"certificate": map[string]string{
			"validFrom":  pair.leaf.NotBefore.UTC().Format(time.RFC3339),
			"validUntil": pair.leaf.NotAfter.UTC().Format(time.RFC3339),
		}})
		if err == nil {
			l.certs.reported(ctx, pair)
		} // else it is tried again at the next connection
	})
}
