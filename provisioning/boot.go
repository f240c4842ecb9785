// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

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
	switch {
	case l.done:
	case l.served != nil:
		l.accept(l.served)
	case l.hear != nil:
		l.hear(l)
		l.finish(nil)
	}
}

func (l *loop) boot() {
	l.usesToken = l.tokensInUse()
	l.state = rules.State{Settings: l.settings}
	l.state.Settings.Tokens = l.usesToken
	if l.device != nil {
		l.bootModule()
		return
	}
	boot, why := l.store.read(l.ctx)
	if why != nil && l.ctx.Err() != nil { // interrupted: the store is read again the next time
		l.booted = false
		l.finish(context.Cause(l.ctx))
		return
	}
	if why != nil {
		l.storeFailed("stored assignment not used", why)
		l.last.err = why
	}
	if e := l.store.last; e != nil {
		l.clock.remember(e.Saved)
		l.store.fallback = e.Fallback
		l.toHub.since, l.toDPS.since = e.Fallback.Hub, e.Fallback.DPS
	}
	l.loadWaits(&boot, l.owner)
	l.resumeTransports(&boot.Waits)
	l.bootCertificates()
	if l.certs != nil && boot.Next == retry.Wait {
		l.apply(boot) // what is due depends on the certificate, too
		l.installedAs = l.installed()
		l.beginWith(l.installedAs)
		return
	}
	l.beginWith(boot)
}

// bootCertificates takes up what is kept of certificates, and what the attestation is by now.
func (l *loop) bootCertificates() {
	if l.certs != nil {
		l.certs.load(l.ctx)
		// Renewals that fell due while a fleet was off do not all come at once.
		spread := l.random.Float64() * float64(rules.WakeSpread)
		l.overdueAt = time.Now().Add(time.Duration(spread))
		l.certificatesStored()
	}
	l.watchSource()
}

// beginWith begins with an event. Where a call is served next, that decides what is started.
func (l *loop) beginWith(e rules.Event) {
	switch {
	case l.served != nil:
		l.apply(e)
		l.publish()
	case l.purpose == toReport:
		l.apply(e)
	case l.purpose == toHand:
		l.apply(e)
		l.spaceQuestions()
		l.fire()
	default:
		l.step(e)
	}
}

// tokensInUse: a device that authenticates with a certificate has no tokens that a wrong clock
// could spoil.
func (l *loop) tokensInUse() bool {
	certificate, err := l.identity.credential.Certificate(l.ctx)
	return certificate == nil || err != nil
}
