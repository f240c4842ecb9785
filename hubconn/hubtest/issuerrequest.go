// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"slices"
)

// maxRequest is the largest certificate signing request, in bytes of its base64 text: the service
// was seen to refuse what is above 8 KB.
const maxRequest = 8 << 10

// CheckRequest checks what the service checks of a certificate signing request before it works on
// it: that it is standard base64 in one line, of 8 KB at most, and that its subject is one of the
// names. The error is of type [*Error] with code 400004. What is found wrong later is for Issue to
// tell.
func (i *Issuer) CheckRequest(csr string, names ...string) error {
	switch {
	case csr == "":
		return issueError(codeArgumentInvalid, "csr is missing or empty")
	case len(csr) > maxRequest:
		return issueError(codeArgumentInvalid, "csr is larger than 8 KB")
	}
	der, err := base64.StdEncoding.Strict().DecodeString(csr)
	if err != nil || base64.StdEncoding.EncodedLen(len(der)) != len(csr) {
		return issueError(codeArgumentInvalid, "csr is not base64 of DER, in one line")
	}
	request, err := x509.ParseCertificateRequest(der)
	if err == nil && !slices.Contains(names, request.Subject.CommonName) {
		return issueError(
			codeArgumentInvalid, "csr has not the device's name as its common name",
		)
	}
	return nil // what is no request is found out when it is worked on
}

// parseRequest reads a request and checks its signature and key.
func (i *Issuer) parseRequest(csr string) (*x509.CertificateRequest, error) {
	der, err := base64.StdEncoding.DecodeString(csr)
	if err != nil {
		return nil, issueError(codeArgumentInvalid, "csr is not base64")
	}
	request, err := x509.ParseCertificateRequest(der)
	if err == nil {
		err = request.CheckSignature()
	}
	if err != nil {
		return nil, issueError(codeRequestInvalid, "the csr failed verification")
	}
	switch key := request.PublicKey.(type) {
	case *ecdsa.PublicKey:
		if key.Curve == elliptic.P384() || key.Curve == elliptic.P256() && !i.cfg.DocumentedKeys {
			return request, nil
		}
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 && !i.cfg.DocumentedKeys {
			return request, nil
		}
	}
	return nil, issueError(codeRequestInvalid, "the key of the csr is not supported")
}

func issueError(code int, message string) error {
	return &Error{Op: "issue certificate", Code: code, Message: message}
}
