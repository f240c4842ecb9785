// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// Issuance has DPS issue the certificate with which the device authenticates at its hub (Azure
// docs: "Certificate issuance", "Certificate renewal"). The Device's Attestation is then what it
// shows at DPS: the onboarding credential, which is needed again whenever no certificate is left,
// and must never be thrown away. What it takes is an enrollment with a certificate policy; one
// without says so in Status and the log, and the device goes on with its Attestation where the hub
// takes that.
//
// Every registration asks for a certificate, with a key that is made for it on the device. Key and
// chain are kept in the Store, under the registration ID followed by "~issued", sealed as the entry
// is, and encrypted where the Attestation is a [dps.Protector]. The pair before stays until a hub
// has accepted the new one, so that a process that is killed at any moment has one that works.
//
// While Run drives the device, the certificate is renewed at a random 60 to 80 % of its life over
// the hub, and at 85 to 95 % by a registration if that has not worked, or if the device has not
// been connected; two tries are 10 minutes apart at least. One that has expired is not shown to the
// hub first: the device registers. The package documentation has the rules.
type Issuance struct {
	// Keys makes the key pairs and keeps them, such as those of a TPM or an HSM. Nil: they are made
	// in software on Curve, and kept in the Store with their chains.
	Keys KeyStore

	// Curve is that of keys made in software: P-256 or P-384 of [elliptic]. Nil: P-256, which the
	// service was seen to accept; its documentation lists P-384 alone.
	Curve elliptic.Curve

	// ReportValidity reports {"certificate": {"validFrom": …, "validUntil": …}} to the twin at each
	// connection with an issued certificate, where the twin does not say so yet, so that operators
	// see who is about to run out (Azure docs: "Certificate renewal").
	ReportValidity bool
}

// A KeyStore makes key pairs and finds them again. Its methods are called one at a time for each
// device, have a minute each, and return when ctx ends. The device goes on meanwhile with what it
// has.
type KeyStore interface {
	// Generate makes a key pair for signatures, P-256 or P-384. The reference, at most 4 KB, is
	// what Load finds it by in a later process; it is stored.
	Generate(ctx context.Context) (key crypto.Signer, reference []byte, err error)

	// Load returns the key of a reference. An error means that the key cannot be used now; the
	// device tries the credential before it.
	Load(ctx context.Context, reference []byte) (crypto.Signer, error)

	// Delete removes the key of a reference, which is not used any more. A key that is not there is
	// no error.
	Delete(ctx context.Context, reference []byte) error
}

const maxKeyReference = 4 << 10

// validate reports what is wrong with the fields.
func (i *Issuance) validate() error {
	if i == nil || i.Curve == nil || i.Curve == elliptic.P256() || i.Curve == elliptic.P384() {
		return nil
	}
	return fmt.Errorf(
		"issuance: curve %s is not supported: use elliptic.P256() or elliptic.P384()",
		i.Curve.Params().Name,
	)
}

// keyStore is the one to use.
func (i *Issuance) keyStore() KeyStore {
	if i.Keys != nil {
		return &patientKeys{keys: i.Keys, turn: make(chan struct{}, 1)}
	}
	if i.Curve != nil {
		return softwareKeys{i.Curve}
	}
	return softwareKeys{elliptic.P256()}
}

// softwareKeys keeps a key as the reference itself, in PKCS #8.
type softwareKeys struct{ curve elliptic.Curve }

func (s softwareKeys) Generate(context.Context) (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(s.curve, rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	reference, err := x509.MarshalPKCS8PrivateKey(key)
	return key, reference, err
}

func (softwareKeys) Load(_ context.Context, reference []byte) (crypto.Signer, error) {
	key, err := x509.ParsePKCS8PrivateKey(reference)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("the stored private key cannot be read") // never what it says
	}
	return signer, nil
}

func (softwareKeys) Delete(context.Context, []byte) error { return nil }

// keyTimeout is how long a KeyStore has for one operation, and for those before it. A slow chip
// makes a key within seconds.
const keyTimeout = time.Minute

var errKeysSilent = errors.New("the key store has not returned within a minute")

// patientKeys is a KeyStore of the program's, called one at a time and with a limit: one that hangs
// until its context ends must not hold up a device that has another credential to show.
type patientKeys struct {
	keys KeyStore
	turn chan struct{} // room for one
}

func (p *patientKeys) call(ctx context.Context, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, keyTimeout, errKeysSilent)
	defer cancel()
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
		return do(ctx)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (p *patientKeys) Generate(
	ctx context.Context,
) (key crypto.Signer, reference []byte, err error) {
	err = p.call(ctx, func(ctx context.Context) (err error) {
		key, reference, err = p.keys.Generate(ctx)
		return err
	})
	return key, reference, err
}

func (p *patientKeys) Load(ctx context.Context, reference []byte) (key crypto.Signer, err error) {
	err = p.call(ctx, func(ctx context.Context) (err error) {
		key, err = p.keys.Load(ctx, reference)
		return err
	})
	return key, err
}

func (p *patientKeys) Delete(ctx context.Context, reference []byte) error {
	return p.call(ctx, func(ctx context.Context) error { return p.keys.Delete(ctx, reference) })
}
