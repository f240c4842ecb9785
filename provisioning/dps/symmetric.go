// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/sas"
)

// The service accepts symmetric keys of 16 to 64 bytes. Azure docs: "Symmetric key attestation".
const (
	minKeyBytes = 16
	maxKeyBytes = 64
)

// Labels keep the uses of one key apart: a seal is never a valid token, a fingerprint never a seal.
const (
	sealLabel        = "rehome seal v1\x00"
	fingerprintLabel = "rehome fingerprint v1\x00"
)

// SymmetricKey attests with a key shared with DPS: the primary or secondary key of an individual
// enrollment, or the key that [DeriveDeviceKey] derives for one device of an enrollment group.
//
// It prints, logs and marshals without its key. The fmt package cannot call methods on values
// inside another struct's unexported fields: keep it in an exported field, in an interface, or
// behind a pointer.
type SymmetricKey struct {
	// ID is the registration ID: 1 to 128 letters, digits, '-', '.', '_' and ':', ending in a
	// letter, digit or '-'. It is sent in the letter case given here; use lower case (the service
	// ignores the case of IDs, but whether it counts in a group's key derivation is not
	// documented).
	ID string

	// Key is the device's key in base64, 16 to 64 bytes when decoded. Never put a group key here:
	// derive the device's own from it, away from the device if possible.
	Key string
}

var _ Attestation = SymmetricKey{}

// DeriveDeviceKey returns the base64 key of one device of a symmetric key enrollment group:
// HMAC-SHA256 of the registration ID, exactly as given, under the group key. A device should be
// given its derived key and never the group key, with which anyone could be any device of the
// group.
//
// Azure docs: "Symmetric key attestation", group enrollments.
func DeriveDeviceKey(groupKey, registrationID string) (string, error) {
	key, err := decodeKey("group key", groupKey)
	if err != nil {
		return "", invalid(err)
	}
	if err := checkRegistrationID("registration id", registrationID); err != nil {
		return "", invalid(err)
	}
	return base64.StdEncoding.EncodeToString(sas.DeriveKey(key, registrationID)), nil
}

// RegistrationID returns ID.
func (k SymmetricKey) RegistrationID() string { return k.ID }

// Validate checks ID and Key. Its errors never show the key.
func (k SymmetricKey) Validate() error {
	if err := checkRegistrationID("symmetric key: id", k.ID); err != nil {
		return invalid(err)
	}
	if _, err := decodeKey("symmetric key: key", k.Key); err != nil {
		return invalid(err)
	}
	return nil
}

// Certificate returns nil: a symmetric key has none.
func (k SymmetricKey) Certificate(context.Context) (*tls.Certificate, error) { return nil, nil }

// Token returns a SAS token for resource, signed with the key.
func (k SymmetricKey) Token(_ context.Context, resource string, expiry time.Time) (string, error) {
	key, err := decodeKey("symmetric key: key", k.Key)
	if err != nil {
		return "", invalid(err)
	}
	return sas.Token(resource, key, expiry), nil
}

// Fingerprint is a keyed digest: without the key nothing can be learned from it, not even by trying
// short keys of another device.
func (k SymmetricKey) Fingerprint(context.Context) (string, error) {
	digest, err := k.digest(fingerprintLabel, nil)
	if err != nil {
		return "", err
	}
	return hex.EncodeToString(digest[:16]), nil
}

// Seal is an HMAC-SHA256 under a key derived from the device's.
func (k SymmetricKey) Seal(_ context.Context, data []byte) ([]byte, error) {
	return k.digest(sealLabel, data)
}

// Verify checks a seal in constant time.
func (k SymmetricKey) Verify(_ context.Context, data, seal []byte) error {
	want, err := k.digest(sealLabel, data)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, seal) {
		return &Error{Op: "verify", Err: errSeal}
	}
	return nil
}

// digest is HMAC(HMAC(key, label), data): the device's key itself signs nothing but tokens and
// derivations.
func (k SymmetricKey) digest(label string, data []byte) ([]byte, error) {
	key, err := decodeKey("symmetric key: key", k.Key)
	if err != nil {
		return nil, invalid(err)
	}
	return hmacSHA256(hmacSHA256(key, []byte(label)), data), nil
}

func hmacSHA256(key, data []byte) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write(data)
	return mac.Sum(nil)
}

// decodeKey never quotes the key, nor the position where decoding failed: both would help to guess
// it.
func decodeKey(field, encoded string) ([]byte, error) {
	encoded = strings.TrimSpace(encoded)
	if encoded == "" {
		return nil, fmt.Errorf("%s is empty: set it to the base64 key of the enrollment or the "+
			"one derived from its group key", field)
	}
	if strings.Contains(encoded, "SharedAccess") {
		return nil, errors.New(field + " is a connection string: give the key alone, which is " +
			"what follows SharedAccessKey=")
	}
	key, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errors.New(field + " is not base64: copy it whole, with the trailing '=' " +
			"signs and without quotes")
	}
	if len(key) < minKeyBytes || len(key) > maxKeyBytes {
		return nil, fmt.Errorf(
			"%s has %d bytes when decoded: it must have %d to %d", field, len(key), minKeyBytes,
			maxKeyBytes,
		)
	}
	return key, nil
}

// String names the device and not the key.
func (k SymmetricKey) String() string { return fmt.Sprintf("symmetric key of %q (redacted)", k.ID) }

// GoString is String.
func (k SymmetricKey) GoString() string { return k.String() }

// Format writes String for every verb: without it %d or %x would print the fields.
func (k SymmetricKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k SymmetricKey) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON writes the ID and, in the place of the key, a word that Validate refuses, so that a
// configuration saved and read back fails clearly.
func (k SymmetricKey) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct{ ID, Key string }{k.ID, "(redacted)"})
}
