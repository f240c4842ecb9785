// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"errors"
)

// Protector is an attestation that can also encrypt what the device keeps, so that nobody but the
// device can read it. [SymmetricKey] implements it.
//
// Methods may be called from several goroutines at once.
type Protector interface {
	// Protect returns data encrypted. Twice the same data gives two results.
	Protect(ctx context.Context, data []byte) ([]byte, error)

	// Unprotect returns what Protect was given, by the same credential. An error means that the
	// data is another credential's, or was changed.
	Unprotect(ctx context.Context, data []byte) ([]byte, error)
}

var _ Protector = SymmetricKey{}

// protectLabel keeps the key that encrypts apart from those of the other labels.
const protectLabel = "rehome protect v1\x00"

var errProtected = errors.New("the data was changed, or is protected by another credential")

// Protect encrypts data by AES-256-GCM, under a key derived from the device's and with a random
// nonce: the result is 28 bytes longer than data.
func (k SymmetricKey) Protect(_ context.Context, data []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, data, nil), nil
}

// Unprotect decrypts what Protect encrypted.
func (k SymmetricKey) Unprotect(_ context.Context, data []byte) ([]byte, error) {
	aead, err := k.aead()
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, data, nil)
	if err != nil {
		return nil, &Error{Op: "unprotect", Err: errProtected}
	}
	return plain, nil
}

func (k SymmetricKey) aead() (cipher.AEAD, error) {
	key, err := k.digest(protectLabel, nil)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, &Error{Op: "protect", Err: err}
	}
	return cipher.NewGCMWithRandomNonce(block)
}
