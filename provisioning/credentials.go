// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/keyring"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// CredentialKind is one of the credentials that a device may hold, by what it is.
type CredentialKind string

// The credentials of a device, in the order in which a hub is shown them. DPS is shown the
// attestations alone.
const (
	// CredentialIssued is the newest certificate that was issued to the device.
	CredentialIssued CredentialKind = "issued certificate"
	// CredentialEarlier is one issued before that, which has not expired.
	CredentialEarlier CredentialKind = "earlier issued certificate"
	// CredentialAttestation is the Device's Attestation.
	CredentialAttestation CredentialKind = "attestation"
	// CredentialFormer is what the Attestation was, where that is a [dps.Source], before it
	// changed.
	CredentialFormer CredentialKind = "former attestation"
	// CredentialSecond is the Device's SecondAttestation.
	CredentialSecond CredentialKind = "second attestation"
)

// keptInUse is how long a credential goes first that was accepted where one before it had been
// refused.
const keptInUse = 24 * time.Hour

// credential is one of those that a device may show.
type credential struct {
	_ [0]func() // never compared, which saves code in a device's program

	hubconn.Credential
	kind        CredentialKind
	issued      *issued         // nil: it is an attestation
	attestation dps.Attestation // nil: it is not
}

// preference is what was accepted last where something before it was refused.
type preference struct {
	kind  CredentialKind
	since time.Time // zero: there is none
}

// order puts what was accepted last in front, for a while.
func (p *preference) order(all []credential) []credential {
	if p.since.IsZero() || time.Since(p.since) >= keptInUse {
		return all
	}
	for i, c := range all {
		if c.kind == p.kind {
			ordered := append([]credential{c}, all[:i]...)
			return append(ordered, all[i+1:]...)
		}
	}
	return all
}

// accepted takes in which one a service has accepted.
func (p *preference) accepted(c credential, refused bool) {
	switch {
	case refused:
		*p = preference{kind: c.kind, since: time.Now()}
	case c.kind != p.kind:
		*p = preference{}
	}
}

// attestations are what DPS may be shown, as they are now.
func (c *core) attestations(ctx context.Context) []credential {
	all := make([]credential, 0, 2)
	add := func(kind CredentialKind, a dps.Attestation) {
		if a == nil {
			return
		}
		if source, ok := a.(dps.Source); ok {
			current, err := source.Current(ctx)
			if err == nil {
				a = current
			} // else it tells what is wrong itself when it is used
		}
		all = append(all, credential{Credential: a, kind: kind, attestation: a})
	}
	add(CredentialAttestation, c.store.owner.attestation)
	add(CredentialSecond, c.second)
	return all
}

// hubCredentials are what a hub may be shown, in turn. What is held of certificates changes while
// the device runs, and so may an attestation.
func (c *core) hubCredentials(ctx context.Context, former dps.Attestation) []credential {
	if c.device != nil {
		return []credential{{Credential: c.identity.credential, kind: CredentialAttestation}}
	}
	var all []credential
	if c.certs != nil {
		c.certs.readAgain(ctx)
		now := c.clock.Now()
		for i, pair := range c.certs.all() {
			kind := CredentialIssued
			if i > 0 {
				kind = CredentialEarlier
			}
			// The newest is shown even if it seems to have expired: the clock may be wrong.
			if i == 0 || now.Before(pair.leaf.NotAfter) {
				all = append(all, credential{Credential: pair, kind: kind, issued: pair})
			}
		}
	}
	for _, a := range c.attestations(ctx) {
		all = append(all, a)
		if a.kind == CredentialAttestation && former != nil {
			all = append(all, credential{
				Credential: former, kind: CredentialFormer, attestation: former,
			})
		}
	}
	return all
}

// inTurn shows a service one credential after the other, as long as it refuses them. All of it is
// one attempt to the rules. refused says what was refused before the one that is returned.
func inTurn(
	ctx context.Context, all []credential, try func(credential) error, refuses func(error) bool,
) (used credential, refused []error, err error) {
	var unused []error // what a service has said counts more than what could not be used here
	for _, next := range all {
		err = try(next)
		_, unusable := errors.AsType[*unusableError](err)
		if err == nil || ctx.Err() != nil || !unusable && !refuses(err) {
			return next, append(refused, unused...), err
		}
		if len(all) > 1 {
			err = &credentialError{kind: next.kind, err: err}
		}
		if unusable {
			unused = append(unused, err)
		} else {
			refused = append(refused, err)
		}
	}
	if refused = append(refused, unused...); len(refused) == 1 {
		return credential{}, nil, refused[0]
	}
	return credential{}, nil, &refusedError{refused}
}

// credentialError names the credential that a service has refused.
type credentialError struct {
	kind CredentialKind
	err  error
}

func (e *credentialError) Error() string { return string(e.kind) + ": " + e.err.Error() }
func (e *credentialError) Unwrap() error { return e.err }

// refusedError is why a service has refused all credentials. The first error is the one that counts
// where only one can.
type refusedError struct{ errs []error }

// Error is one line.
func (e *refusedError) Error() string {
	texts := make([]string, len(e.errs))
	for i, err := range e.errs {
		texts[i] = oneline.Of(err.Error(), causeMax/len(e.errs))
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns all of them.
func (e *refusedError) Unwrap() []error { return e.errs }

// hubRefuses says that a hub has turned a credential away, and not the device.
func hubRefuses(err error) bool {
	failure, ok := errors.AsType[*hubconn.Error](err)
	return ok && failure.Class == hubconn.Rejected
}

// dpsRefuses says that DPS has turned a credential away, and that the clock is not known to be why.
func (c *core) dpsRefuses(err error) bool {
	failure, ok := errors.AsType[*dps.Error](err)
	if !ok || !failure.Answered() {
		return false
	}
	refused := failure.Status == http.StatusUnauthorized ||
		failure.Status == http.StatusForbidden ||
		failure.ReturnCode == 2 || failure.ReturnCode == 4 || failure.ReturnCode == 5
	return refused && !c.clock.learn(failure.Date)
}

// issued is a pair of key and chain as a hub's credential.
type issued struct {
	keys  KeyStore
	key   []byte // its reference
	chain [][]byte
	leaf  *x509.Certificate

	mu     sync.Mutex
	signer crypto.Signer // once it was loaded
	taken  time.Time     // by the monotonic clock; zero: by an earlier process
}

// Certificate loads the key at its first use.
func (i *issued) Certificate(ctx context.Context) (*tls.Certificate, error) {
	signer, err := i.load(ctx)
	if err != nil {
		return nil, &unusableError{fmt.Errorf("key of the issued certificate: %w", err)}
	}
	return &tls.Certificate{
		Certificate: i.chain, PrivateKey: signer, Leaf: i.leaf,
	}, nil
}

func (i *issued) load(ctx context.Context) (crypto.Signer, error) {
	if signer := i.loaded(); signer != nil {
		return signer, nil
	}
	signer, err := i.keys.Load(ctx, i.key)
	if err == nil {
		i.setLoaded(signer)
	}
	return signer, err
}

func (i *issued) loaded() crypto.Signer {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.signer
}

// setTaken notes that the pair was issued just now.
func (i *issued) setTaken(signer crypto.Signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signer, i.taken = signer, time.Now()
}

// status is what there is to tell of a pair, and of what hubs have said to it.
func (i *issued) status(known keyring.Pair) CertificateStatus {
	return CertificateStatus{
		ValidFrom: i.leaf.NotBefore, ValidUntil: i.leaf.NotAfter, Accepted: known.Accepted,
	}
}

// on is when it is a time of the certificate's, by the monotonic clock. A clock by which it was not
// valid when it was issued is wrong, and counts for nothing.
func (i *issued) on(t, clock time.Time) time.Time {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.taken.IsZero() {
		then := clock.Add(time.Until(i.taken))
		if then.After(i.leaf.NotAfter) || then.Before(i.leaf.NotBefore) {
			return i.taken.Add(t.Sub(i.leaf.NotBefore))
		}
	}
	return time.Now().Add(t.Sub(clock))
}

func (i *issued) setLoaded(signer crypto.Signer) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signer = signer
}

// Token is none: a certificate needs no token.
func (i *issued) Token(context.Context, string, time.Time) (string, error) { return "", nil }

// unusableError is a credential that cannot be used: the next one may.
type unusableError struct{ err error }

func (e *unusableError) Error() string { return e.err.Error() }
func (e *unusableError) Unwrap() error { return e.err }
