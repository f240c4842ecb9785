// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
)

// Labels keep the uses of the sealing key apart.
const (
	sealLabel    = "rehome seal v1\x00"
	protectLabel = "rehome protect v1\x00"
	countedLabel = "rehome counted v1\x00"
)

var (
	errSeal    = errors.New("the seal does not match the data: another TPM made it, or nobody")
	errProtect = errors.New("the data was not protected by this TPM, or has been changed since")
)

// Seal is HMAC-SHA256 under a key that never leaves the TPM, and that the TPM makes anew of its own
// seed each time: nothing is kept for it. What another TPM sealed, or this one before it was
// cleared, does not match.
func (a *Attestation) Seal(ctx context.Context, data []byte) ([]byte, error) {
	return a.module().mac(ctx, "seal", sealLabel, data)
}

// Verify checks a seal.
func (a *Attestation) Verify(ctx context.Context, data, seal []byte) error {
	want, err := a.module().mac(ctx, "verify", sealLabel, data)
	if err == nil && !hmac.Equal(want, seal) {
		err = a.failed("verify", errSeal)
	}
	return err
}

// mac is that of the sealing key over a digest of the data, which is as good and one command.
func (t *TPM) mac(ctx context.Context, op, label string, data []byte) ([]byte, error) {
	digest := sha256.Sum256(data)
	return run(ctx, t, op, func(x *exchange) ([]byte, error) {
		return x.seal(label, digest[:])
	})
}

func (x *exchange) seal(label string, digest []byte) ([]byte, error) {
	key, err := x.primary(sealingKey)
	if err != nil {
		return nil, err
	}
	defer x.release(key)
	return x.hmac(key, append([]byte(label), digest...))
}

// protectVersion is the first byte of what Protect returns.
const protectVersion = 1

// Protect encrypts data by AES-256-GCM so that this TPM alone can read it: under a key of its own
// that the TPM derives of a random number, which is put in front.
func (a *Attestation) Protect(ctx context.Context, data []byte) ([]byte, error) {
	salt := make([]byte, sha256.Size)
	_, _ = rand.Read(salt) // never fails
	seal, err := a.protection(ctx, "protect", salt)
	if err != nil {
		return nil, err
	}
	out := append([]byte{protectVersion}, salt...)
	// The key is used once.
	return seal.Seal(out, make([]byte, seal.NonceSize()), data, []byte{protectVersion}), nil
}

// Unprotect decrypts what Protect returned.
func (a *Attestation) Unprotect(ctx context.Context, data []byte) ([]byte, error) {
	rest, ok := bytes.CutPrefix(data, []byte{protectVersion})
	if !ok || len(rest) < sha256.Size {
		return nil, a.failed("unprotect", errProtect)
	}
	seal, err := a.protection(ctx, "unprotect", rest[:sha256.Size])
	if err != nil {
		return nil, err
	}
	plain, err := seal.Open(
		nil, make([]byte, seal.NonceSize()), rest[sha256.Size:], []byte{protectVersion},
	)
	if err != nil {
		return nil, a.failed("unprotect", errProtect)
	}
	return plain, nil
}

func (a *Attestation) protection(ctx context.Context, op string, salt []byte) (cipher.AEAD, error) {
	key, err := a.module().mac(ctx, op, protectLabel, salt)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}
