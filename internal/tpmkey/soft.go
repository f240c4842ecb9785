// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Soft is the part of a TPM that unwraps what Wrap wraps, for tests that have no TPM at hand. It
// checks what a TPM checks.
type Soft struct {
	endorsement, root         *rsa.PrivateKey
	endorsementArea, rootArea []byte // TPM2B_PUBLIC
}

// NewSoft makes one with new keys.
func NewSoft() (*Soft, error) {
	s := &Soft{}
	var err error
	if s.endorsement, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	if s.root, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		return nil, err
	}
	// The TCG's templates: policy L-1 for the endorsement key, none for the root.
	policy := []byte{
		0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7,
		0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14,
		0x69, 0xaa,
	}
	s.endorsementArea = storageKey(0x000300b2, policy, &s.endorsement.PublicKey)
	s.rootArea = storageKey(0x00030472, nil, &s.root.PublicKey)
	return s, nil
}

// EndorsementKey returns the public endorsement key, a TPM2B_PUBLIC.
func (s *Soft) EndorsementKey() []byte { return bytes.Clone(s.endorsementArea) }

// StorageRootKey returns the public storage root key, a TPM2B_PUBLIC.
func (s *Soft) StorageRootKey() []byte { return bytes.Clone(s.rootArea) }

func storageKey(attributes uint32, policy []byte, key *rsa.PublicKey) []byte {
	area := binary.BigEndian.AppendUint16(nil, algRSA)
	area = binary.BigEndian.AppendUint16(area, algSHA256)
	area = binary.BigEndian.AppendUint32(area, attributes)
	area = append(area, sized(policy)...)
	for _, field := range []uint16{algAES, 128, algCFB, algNull, 2048} {
		area = binary.BigEndian.AppendUint16(area, field)
	}
	area = append(area, 0, 0, 0, 0) // the default exponent
	return sized(append(area, sized(key.N.Bytes())...))
}

var errIntegrity = errors.New("integrity check failed")

// Unwrap returns the key that Wrap wrapped for this TPM.
func (s *Soft) Unwrap(blob []byte) ([]byte, error) {
	r := reader{rest: blob}
	identity, secret, private, seed, area := r.sized(), r.sized(), r.sized(), r.sized(), r.sized()
	extra := r.sized()
	if r.err != nil || len(r.rest) > 0 {
		return nil, fmt.Errorf("authenticationKey: %d bytes too many, %w", len(r.rest), errShort)
	}
	_ = extra // clients ignore it
	inner, err := outerUnwrap(s.endorsement, secret, "IDENTITY", nameOf(s.rootArea[2:]), identity)
	if err != nil {
		return nil, fmt.Errorf("credential: %w", err)
	}
	credential := reader{rest: inner}
	wrapKey := credential.sized()
	if len(wrapKey) != 16 || len(credential.rest) > 0 {
		return nil, errors.New("credential: not a key of AES-128")
	}
	name := nameOf(area)
	wrapped, err := outerUnwrap(s.root, seed, "DUPLICATE", name, private)
	if err != nil {
		return nil, fmt.Errorf("duplicate: %w", err)
	}
	plain := reader{rest: uncfb(wrapKey, wrapped)}
	integrity, sensitive := plain.sized(), plain.sized()
	want := sha256.Sum256(append(sized(sensitive), name...))
	if plain.err != nil || !hmac.Equal(integrity, want[:]) {
		return nil, fmt.Errorf("duplicate: inner wrapper: %w", errIntegrity)
	}
	parts := reader{rest: sensitive}
	kind, _, obfuscation, key := parts.uint16(), parts.sized(), parts.sized(), parts.sized()
	if parts.err != nil || kind != algKeyedHash ||
		!bytes.Equal(area, keyedHash(obfuscation, key)) {
		return nil, errors.New("duplicate: its public area is not the key's")
	}
	return key, nil
}

func outerUnwrap(
	key *rsa.PrivateKey, seed []byte, label string, name, data []byte,
) ([]byte, error) {
	raw, err := rsa.DecryptOAEP(sha256.New(), nil, key, seed, append([]byte(label), 0))
	if err != nil {
		return nil, err
	}
	r := reader{rest: data}
	sum := r.sized()
	mac := hmac.New(sha256.New, kdfa(raw, "INTEGRITY", nil, 256))
	mac.Write(r.rest)
	mac.Write(name)
	if r.err != nil || !hmac.Equal(sum, mac.Sum(nil)) {
		return nil, errIntegrity
	}
	return uncfb(kdfa(raw, "STORAGE", name, 128), r.rest), nil
}
