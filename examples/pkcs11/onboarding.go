// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// onboarding is what the device registers with: the certificate that its maker has given it, whose
// key is in the token, or a symmetric key.
func (s *settings) onboarding(ctx context.Context, token *hsm.Token) (dps.Attestation, error) {
	if s.cert != "" {
		return s.certificate(ctx, token)
	}
	key := os.Getenv(keyVariable)
	if s.keyFile != "" {
		text, err := os.ReadFile(s.keyFile)
		if err != nil {
			return nil, fmt.Errorf("-key-file: %w", err)
		}
		key = strings.TrimSpace(string(text))
	}
	a := dps.SymmetricKey{ID: s.id, Key: key}
	return a, a.Validate()
}

func (s *settings) certificate(ctx context.Context, token *hsm.Token) (dps.Attestation, error) {
	text, err := os.ReadFile(s.cert)
	if err != nil {
		return nil, fmt.Errorf("-cert: %w", err)
	}
	pair := tls.Certificate{Certificate: certificatesIn(text)}
	if len(pair.Certificate) == 0 {
		return nil, fmt.Errorf("-cert: %s has no certificate in PEM", s.cert)
	}
	key, err := token.Find(ctx, s.keyLabel)
	if err != nil {
		return nil, fmt.Errorf("-cert-key: %w", err)
	}
	pair.PrivateKey = key
	a := dps.X509{ID: s.id, KeyPair: pair}
	return a, a.Validate()
}

// certificatesIn are those of a text in PEM, in DER.
func certificatesIn(text []byte) (all [][]byte) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" {
			all = append(all, block.Bytes)
		}
	}
	return all
}

// printCSR is what the device's maker has signed.
func (s *settings) printCSR(ctx context.Context, token *hsm.Token, stdout io.Writer) error {
	key, err := token.Make(ctx, s.keyLabel)
	if err != nil {
		return err
	}
	der, err := dps.NewCSR(key, s.id)
	if err != nil {
		return err
	}
	return pem.Encode(stdout, &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// printKeys shows what is in the token.
func (s *settings) printKeys(ctx context.Context, token *hsm.Token, stdout io.Writer) error {
	keys, err := token.List(ctx)
	if err != nil {
		return err
	}
	for _, k := range keys {
		stays := "stays in the token"
		if k.Extractable {
			stays = "CAN BE TAKEN OUT"
		}
		if _, err := fmt.Fprintf(stdout, "%x  %s  %q\n", k.ID, stays, k.Label); err != nil {
			return err
		}
	}
	return nil
}

// pool reads roots of trust.
func pool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New(file + " has no certificate in PEM")
	}
	return roots, nil
}
