// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"errors"
	"fmt"

	"github.com/miekg/pkcs11"
)

// What an [Error] is because of, for errors.Is.
var (
	ErrModule    = errors.New("the PKCS #11 module cannot be used")
	ErrNoToken   = errors.New("the token is not there")
	ErrPIN       = errors.New("the PIN is wrong")
	ErrPINLocked = errors.New("the PIN is locked")
	ErrNoSession = errors.New("no session is free")
	ErrNoKey     = errors.New("the key is not in the token")
)

// Error is what went wrong with a token. It is one line, and has no PIN.
type Error struct {
	Op    string // what was to be done, such as "generate"
	Token string // label of the token
	Err   error
}

func (e *Error) Error() string { return fmt.Sprintf("token %q: %s: %v", e.Token, e.Op, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// because is an error of a kind, with the words that tell what to do.
func because(kind error, format string, args ...any) error {
	return fmt.Errorf("%w: %w", kind, fmt.Errorf(format, args...))
}

// explained says in plain words what the commonest codes of modules mean, and what to do.
func explained(err error) error {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return err
	}
	switch code {
	case pkcs11.CKR_PIN_INCORRECT, pkcs11.CKR_PIN_INVALID, pkcs11.CKR_PIN_LEN_RANGE:
		return because(ErrPIN, "give the user's PIN; this one is not tried again, since tokens "+
			"lock after a few wrong ones (%w)", err)
	case pkcs11.CKR_PIN_LOCKED:
		return because(ErrPINLocked, "too many wrong ones were tried; the token's security "+
			"officer has to set a new one (%w)", err)
	case pkcs11.CKR_PIN_EXPIRED, pkcs11.CKR_USER_PIN_NOT_INITIALIZED:
		return because(ErrPIN, "the token wants a new one to be set first (%w)", err)
	case pkcs11.CKR_SESSION_COUNT:
		return because(ErrNoSession, "the token allows no more: use fewer, or end other programs "+
			"that use it (%w)", err)
	case pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_DEVICE_REMOVED:
		return because(ErrNoToken, "it was removed (%w)", err)
	case pkcs11.CKR_DEVICE_MEMORY:
		return fmt.Errorf("the token is full: remove keys that nobody uses (%w)", err)
	case pkcs11.CKR_TOKEN_WRITE_PROTECTED, pkcs11.CKR_SESSION_READ_ONLY:
		return fmt.Errorf("the token cannot be written to (%w)", err)
	case pkcs11.CKR_MECHANISM_INVALID, pkcs11.CKR_CURVE_NOT_SUPPORTED:
		return fmt.Errorf("the token has no ECDSA on P-256 (%w)", err)
	}
	return err
}

// isLost says that a session may have ended, and that a new one, at a token that is looked for
// anew, may do better. Modules of networked HSMs have nothing but the general codes for it.
func isLost(err error) bool {
	var code pkcs11.Error
	if !errors.As(err, &code) {
		return false
	}
	switch code {
	case pkcs11.CKR_SESSION_HANDLE_INVALID, pkcs11.CKR_SESSION_CLOSED, pkcs11.CKR_DEVICE_REMOVED,
		pkcs11.CKR_TOKEN_NOT_PRESENT, pkcs11.CKR_TOKEN_NOT_RECOGNIZED, pkcs11.CKR_SLOT_ID_INVALID,
		pkcs11.CKR_USER_NOT_LOGGED_IN, pkcs11.CKR_DEVICE_ERROR, pkcs11.CKR_GENERAL_ERROR,
		pkcs11.CKR_FUNCTION_FAILED, pkcs11.CKR_OBJECT_HANDLE_INVALID,
		pkcs11.CKR_KEY_HANDLE_INVALID, pkcs11.CKR_OPERATION_ACTIVE,
		pkcs11.CKR_OPERATION_NOT_INITIALIZED:
		return true
	}
	return false
}
