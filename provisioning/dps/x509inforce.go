// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// RegistrationID returns ID, or else the common name of the first pair; "" if there is none yet.
func (f *X509Files) RegistrationID() string {
	if f.ID != "" {
		return f.ID
	}
	pair, err := f.inForce()
	if err != nil {
		return ""
	}
	return pair.ID
}

// Validate reports why there is no pair. While there is one, a problem of the files is Problem's.
func (f *X509Files) Validate() error {
	pair, err := f.inForce()
	if err != nil {
		return err
	}
	return pair.Validate()
}

// Certificate returns a copy of the pair in force.
func (f *X509Files) Certificate(ctx context.Context) (*tls.Certificate, error) {
	pair, err := f.inForce()
	if err != nil {
		return nil, err
	}
	return pair.Certificate(ctx)
}

// Token returns "": a certificate needs no token.
func (f *X509Files) Token(context.Context, string, time.Time) (string, error) { return "", nil }

// Fingerprint is that of the pair in force, as [X509.Fingerprint].
func (f *X509Files) Fingerprint(ctx context.Context) (string, error) {
	pair, err := f.inForce()
	if err != nil {
		return "", err
	}
	return pair.Fingerprint(ctx)
}

// Seal signs with the key in force, as [X509.Seal].
func (f *X509Files) Seal(ctx context.Context, data []byte) ([]byte, error) {
	pair, err := f.inForce()
	if err != nil {
		return nil, err
	}
	return pair.Seal(ctx, data)
}

// Verify checks a seal with the key in force.
func (f *X509Files) Verify(ctx context.Context, data, seal []byte) error {
	pair, err := f.inForce()
	if err != nil {
		return err
	}
	return pair.Verify(ctx, data, seal)
}

// String names the files.
func (f *X509Files) String() string {
	return fmt.Sprintf("x509 certificate in %s, key in %s", f.CertificateFile, f.KeyFile)
}

// GoString is String.
func (f *X509Files) GoString() string { return f.String() }

// Format writes String for every verb.
func (f *X509Files) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, f.String()) }

// LogValue is String.
func (f *X509Files) LogValue() slog.Value { return slog.StringValue(f.String()) }

// MarshalJSON writes the exported fields, which hold no secret.
func (f *X509Files) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		ID, CertificateFile, KeyFile string
		Interval                     time.Duration
	}{f.ID, f.CertificateFile, f.KeyFile, f.Interval})
}
