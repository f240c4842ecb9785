// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"log/slog"

	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// watchSource begins to watch an attestation that may change. What it is now is what a change is
// told by.
func (l *loop) watchSource() {
	source, ok := l.store.owner.attestation.(dps.Source)
	if !ok || l.device != nil {
		return
	}
	l.sourceChanged = source.Changed() // before it is read, lest a change between is missed
	current, err := source.Current(l.ctx)
	if err != nil {
		return // it says so when it is used
	}
	fingerprint, err := current.Fingerprint(l.ctx)
	if err != nil {
		return
	}
	l.current, l.fingerprint = current, fingerprint
}

// sourceProblem tells of a source that cannot read what is new, such as files that do not belong
// together, once; what it had before stays in force.
func (l *loop) sourceProblem() {
	p, ok := l.store.owner.attestation.(interface{ Problem() error })
	if !ok || l.device != nil {
		return
	}
	text, err := "", p.Problem()
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != l.toldProblem {
		l.line(slog.LevelWarn, "new attestation not used",
			failureAttrs(err)...)
	}
	l.toldProblem = text
}

// credentialChanged takes in that the attestation is another: DPS is told first, since the hub
// knows the device by the one before, and then the hub.
func (l *loop) credentialChanged() {
	before, was := l.current, l.fingerprint
	l.watchSource()
	if l.fingerprint == was {
		return
	}
	if l.former == nil || l.told { // else the hub knows neither of the two, but the one before
		l.former, l.told = before, false
	}
	l.toDPSWith = preference{} // it is told the new one
	l.line(slog.LevelInfo, "attestation changed")
	if l.certs != nil {
		l.certs.reseal(context.WithoutCancel(l.ctx))
	}
	l.step(rules.CredentialChanged{})
}

// attested moves a live connection to the attestation that DPS has just been told of.
func (l *loop) attested(used credential) {
	l.told = l.told || l.former != nil && used.kind == CredentialAttestation
	if l.former == nil || l.conn == nil || l.using.issued != nil {
		return
	}
	l.swapTo(credential{
		Credential: l.current, kind: CredentialAttestation, attestation: l.current,
	})
}
