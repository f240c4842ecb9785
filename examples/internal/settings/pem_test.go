// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Whatever is in a certificate's file, its first certificate is the leaf, or there is one line that
// says what the file must be.
func FuzzPEM(f *testing.F) {
	ca := simnet.NewCA("Factory", time.Now())
	leaf := pem.EncodeToMemory(&pem.Block{
		Type: "CERTIFICATE", Bytes: ca.Device("sensor-042").Certificate[0],
	})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("canary-key")})
	f.Add(leaf)
	f.Add(append(bytes.Clone(key), leaf...))
	f.Add(append([]byte("CN = sensor-042\r\n"), leaf...))
	f.Add(key)
	f.Add(leaf[:len(leaf)/2])
	f.Add(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no der")}))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		certificate, err := firstCertificate(data)
		block, rest := pem.Decode(data)
		for block != nil && block.Type != "CERTIFICATE" {
			block, rest = pem.Decode(rest)
		}
		if block == nil {
			assert.EqualError(t, err, "has no certificate in it: it must be pem, leaf first")
			return
		}
		if _, unreadable := x509.ParseCertificate(block.Bytes); unreadable != nil {
			assert.EqualError(
				t, err, "has a certificate that cannot be read: it must be pem, leaf first",
			)
			return
		}
		require.NoError(t, err)
		assert.Equal(t, block.Bytes, certificate.Raw)
	})
}
