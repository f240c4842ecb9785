package dps

import (
	"context"
	"errors"
	"fmt"

	"github.com/rehome-iot/rehome/hubconn"
)

// Attestation is who the device is: a registration ID and the means to prove it. [SymmetricKey] and [X509] implement
// it; a program may bring its own, for instance for a key that never leaves a secure element.
//
// Methods may be called from several goroutines at once.
type Attestation interface {
	// The credential serves DPS and the hub alike.
	hubconn.Credential

	// RegistrationID is the name under which the device is enrolled in DPS. It must not change.
	RegistrationID() string

	// Validate reports the first thing wrong with the attestation itself, in one line that names the field and the
	// fix and shows no secret. It is called before any use of the network.
	Validate() error

	// Fingerprint is a short digest of the credential that changes when the credential does (a rotated key, a renewed
	// certificate) and reveals nothing of it.
	Fingerprint(ctx context.Context) (string, error)

	// Seal returns a seal over data that only the holder of the device's own key can make. What the device remembers
	// between two boots is sealed with it.
	Seal(ctx context.Context, data []byte) ([]byte, error)

	// Verify returns nil if seal is Seal's over data, by the same credential.
	Verify(ctx context.Context, data, seal []byte) error
}

// maxRegistrationID is the service's limit. Azure docs: "DPS terminology", registration ID.
const maxRegistrationID = 128

var errSeal = errors.New("the seal does not match the data")

// checkRegistrationID applies the service's rule for registration IDs: at most 128 of letters, digits, '-', '.', '_'
// and ':', the last one a letter, a digit or '-'. Azure docs: "DPS terminology", registration ID.
//
// Letter case is left as it is, as every official SDK does. The service compares IDs without regard to case, but
// whether the case counts when it derives a group's device keys is not documented: lower case is the safe choice.
func checkRegistrationID(field, id string) error {
	if id == "" {
		return fmt.Errorf("%s is empty: set it to the registration id the device is enrolled with", field)
	}
	if len(id) > maxRegistrationID {
		return fmt.Errorf("%s has %d characters: at most %d are allowed", field, len(id), maxRegistrationID)
	}
	for i := range len(id) {
		if c := id[i]; !isAlphanumeric(c) && c != '-' && c != '.' && c != '_' && c != ':' {
			return fmt.Errorf("%s %q has an illegal character at position %d: use letters, digits, '-', '.', '_' and ':'", field, id, i+1)
		}
	}
	if last := id[len(id)-1]; !isAlphanumeric(last) && last != '-' {
		return fmt.Errorf("%s %q ends in %q: the last character must be a letter, a digit or '-'", field, id, last)
	}
	return nil
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
