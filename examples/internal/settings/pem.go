// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
)

// firstCertificate reads the leaf of a PEM file.
func firstCertificate(data []byte) (*x509.Certificate, error) {
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, errors.New("has no certificate in it: it must be pem, leaf first")
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		leaf, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New(
				"has a certificate that cannot be read: it must be pem, leaf first",
			)
		}
		return leaf, nil
	}
}
