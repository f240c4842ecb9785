// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/asn1"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

// patience is how long a module has for what has no ctx, such as the signature of a
// [crypto.Signer].
const patience = 30 * time.Second

// signer is a key in a token. The object is looked up at each use, since its handle does not
// outlive the token's removal.
type signer struct {
	token  *Token
	id     []byte
	public *ecdsa.PublicKey
	keys   Keys // whose it is; the zero value: it is not one of those
	marked atomic.Bool
}

// Public returns the *ecdsa.PublicKey.
func (k *signer) Public() crypto.PublicKey { return k.public }

// Sign signs a digest, of which ECDSA uses as many bits as the curve has (FIPS 186-5, section 6.4).
// The random numbers are the token's. Before the first signature the key's label is changed: the
// key is of use from then on, and not removed as one that was left behind.
func (k *signer) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	const least = 32
	size := (k.public.Params().BitSize + 7) / 8
	if len(digest) < least || opts != nil && opts.HashFunc() != 0 &&
		len(digest) != opts.HashFunc().Size() {
		return nil, k.token.failed("sign", fmt.Errorf(
			"a digest of %d bytes: use SHA-256, or another hash as long or longer", len(digest)))
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := k.mark(ctx); err != nil {
		return nil, err
	}
	return run(ctx, k.token, "sign", reads, func(s *session) ([]byte, error) {
		private, err := s.privateKey(k.id)
		if err != nil {
			return nil, err
		}
		mechanism := []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_ECDSA, nil)}
		if err := s.SignInit(s.handle, mechanism, private); err != nil {
			return nil, err
		}
		raw, err := s.Sign(s.handle, digest[:min(size, len(digest))])
		if err != nil {
			return nil, err
		}
		if len(raw) != 2*size {
			return nil, errors.New("the module's signature has another length than the key's")
		}
		return asn1.Marshal(struct{ R, S *big.Int }{ // the module has r and s, one after the other
			new(big.Int).SetBytes(raw[:size]), new(big.Int).SetBytes(raw[size:]),
		})
	})
}

// mark has the label say that the key is used.
func (k *signer) mark(ctx context.Context) error {
	if k.keys.Token == nil || k.marked.Load() {
		return nil
	}
	_, err := run(ctx, k.token, "label", changes, func(s *session) (struct{}, error) {
		private, err := s.privateKey(k.id)
		if err != nil {
			return struct{}{}, err
		}
		label, err := s.value(private, pkcs11.CKA_LABEL)
		if err == nil && string(label) == k.keys.newLabel() {
			err = s.relabel(k.id, k.keys.label())
		}
		return struct{}{}, err
	})
	if err == nil {
		k.marked.Store(true)
	}
	return err
}

// String says where the key is.
func (k *signer) String() string {
	return fmt.Sprintf("ECDSA key on %s in %s", k.public.Params().Name, k.token)
}

// GoString is String.
func (k *signer) GoString() string { return k.String() }

// Format writes String for every verb.
func (k *signer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k *signer) LogValue() slog.Value { return slog.StringValue(k.String()) }
