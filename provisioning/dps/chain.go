// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"crypto"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/internal/issued"
)

// Chain is a certificate that was issued to the device, followed by those of its issuers, as the
// service sends them: base64 of DER each, or of PEM. Nothing of it has been checked until
// [Chain.KeyPair] has.
//
// It prints, logs and marshals as the number of its certificates, never as its content.
type Chain []string

// ErrNotValidNow is in the tree of the error of [Chain.KeyPair] for a certificate that has expired,
// or is not valid yet: the clock may be wrong.
var ErrNotValidNow = issued.ErrTime

// KeyPair checks a chain that was issued for key, and returns it ready for TLS, with Leaf set. name
// is the common name that was asked for, the registration ID; letter case does not count.
//
// A chain is accepted if it has 1 to 6 certificates and 64 KB at most, the leaf first and each
// issued by the next; if the leaf has the public key of key and allows client authentication; and
// if all are valid at now, with 5 minutes of tolerance before they become so; a zero now leaves the
// dates for others to judge. RSA keys of less than
// 2048 bits are refused. Each failure is an [*Error] that names what is wrong and what to do.
func (c Chain) KeyPair(key crypto.Signer, name string, now time.Time) (tls.Certificate, error) {
	pair, err := issued.KeyPair(c, key, name, now)
	if err != nil {
		return tls.Certificate{}, &Error{Op: "issued chain", Err: err}
	}
	return pair, nil
}

// NewCSR makes the request for a certificate, to be sent as [Registration].CSR: PKCS #10 in DER
// with the registration ID as common name and no extensions, signed with SHA-256, or with SHA-384
// by a key of P-384. Keys may be ECDSA P-256 or P-384, or RSA of 2048 bits or more; one in a TPM or
// HSM needs no adapter. Make a new key for each certificate where that is possible.
//
// The service's documentation lists P-384 alone; it was seen to accept P-256.
func NewCSR(key crypto.Signer, registrationID string) ([]byte, error) {
	if err := checkRegistrationID("csr: registration id", registrationID); err != nil {
		return nil, invalid(err)
	}
	if len(registrationID) > maxCommonName {
		return nil, invalid(fmt.Errorf(
			"csr: the registration id has %d characters: a common name has at most %d",
			len(registrationID), maxCommonName,
		))
	}
	if err := issued.CheckKey(key); err != nil {
		return nil, invalid(fmt.Errorf("csr: %w", err))
	}
	der, err := issued.NewRequest(key, registrationID)
	if err != nil {
		return nil, &Error{Op: "csr", Err: err}
	}
	return der, nil
}

// chainOf reads the issued chain of an answer. Whatever is wrong with it is told by KeyPair: the
// device is assigned all the same, and must not register over and over for it.
func chainOf(raw json.RawMessage) Chain {
	var elements []json.RawMessage
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	if json.Unmarshal(raw, &elements) != nil {
		return Chain{""} // something was issued, and it is no chain
	}
	if len(elements) == 0 {
		return nil
	}
	chain := make(Chain, len(elements))
	for i, element := range elements {
		_ = json.Unmarshal(element, &chain[i]) // what is no text stays empty
	}
	return chain
}

// String tells how many certificates there are.
func (c Chain) String() string {
	if len(c) == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", len(c))
}

// GoString is String.
func (c Chain) GoString() string { return c.String() }

// Format writes String for every verb.
func (c Chain) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is String.
func (c Chain) LogValue() slog.Value { return slog.StringValue(c.String()) }

// MarshalJSON writes String, and null for none. What was written so is not read back.
func (c Chain) MarshalJSON() ([]byte, error) {
	if c == nil {
		return []byte("null"), nil
	}
	return json.Marshal(c.String())
}
