// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/pem"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Whatever stands in the file of a certificate: what is taken out of it is in it, and is the same
// when it is written and read again.
func FuzzCertificates(f *testing.F) {
	block := func(kind, text string) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(text)})
	}
	one := block("CERTIFICATE", "one")
	f.Add(one)
	f.Add(slices.Concat([]byte("Subject: x\n"), block("EC PARAMETERS", "x"), one, one))
	f.Add(one[:len(one)-3])
	f.Add(block("CERTIFICATE", ""))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		all := certificatesIn(text)
		var written []byte
		size := 0
		for _, der := range all {
			written = append(written, block("CERTIFICATE", string(der))...)
			size += len(der)
		}
		assert.LessOrEqual(t, size, len(text))
		assert.Len(t, certificatesIn(written), len(all))
		for i, der := range certificatesIn(written) {
			assert.True(t, bytes.Equal(all[i], der))
		}
	})
}
