// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"errors"

	"github.com/rehome-iot/rehome/hubconn"
)

// Attestation is who the device is: a registration ID and the means to prove it. [SymmetricKey],
// [X509] and [X509Files] implement it; a program may bring its own, for instance for a key that
// never leaves a secure element.
//
// Methods may be called from several goroutines at once.
type Attestation interface {
	// The credential serves DPS and the hub alike.
	hubconn.Credential

	// RegistrationID is the name under which the device is enrolled in DPS. It must not change.
	RegistrationID() string

	// Validate reports the first thing wrong with the attestation itself, in one line that names
	// the field and the fix and shows no secret. It is called before any use of the network.
	Validate() error

	// Fingerprint is a short digest of the credential that changes when the credential does (a
	// rotated key, a renewed certificate) and reveals nothing of it.
	Fingerprint(ctx context.Context) (string, error)

	// Seal returns a seal over data that only the holder of the device's own key can make. What the
	// device remembers between two boots is sealed with it.
	Seal(ctx context.Context, data []byte) ([]byte, error)

	// Verify returns nil if seal is Seal's over data, by the same credential.
	Verify(ctx context.Context, data, seal []byte) error
}

var errSeal = errors.New("the seal does not match the data")
