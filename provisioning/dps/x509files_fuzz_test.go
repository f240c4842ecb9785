// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Whatever is in the two files, they are a certificate and its key, under the certificate's own
// name, or there is one clear error that quotes no line of them.
func FuzzPEMFiles(f *testing.F) {
	ca := simnet.NewCA("Factory", time.Now())
	pair, other := ca.Device("sensor-042"), ca.Device("sensor-043")
	chain, key := chainPEM(pair), keyPEM(f, pair.PrivateKey)
	f.Add(chain, key)
	f.Add(append([]byte("subject=CN = sensor-042\n"), chain...), append([]byte("\r\n"), key...))
	f.Add(chain, keyPEM(f, other.PrivateKey))
	f.Add(key, chain)
	f.Add(append(bytes.Clone(key), chain...), append(bytes.Clone(key), chain...))
	f.Add(chain[:len(chain)/2], key)
	f.Add(chain, key[:len(key)/2])
	f.Add(chain, bytes.Replace(key, []byte("PRIVATE"), []byte("ENCRYPTED PRIVATE"), 2))
	f.Add(bytes.ReplaceAll(chain, []byte("\n"), nil), key)
	f.Add(armoured("CERTIFICATE", []byte("no der")), armoured("PRIVATE KEY", []byte("no der")))
	f.Add(pair.Certificate[0], []byte{})
	f.Add(armoured(strings.Repeat("𝒳", 300)+" CERTIFICATE", []byte("no der")), key)
	dir := f.TempDir()
	files := dps.X509Files{
		CertificateFile: filepath.Join(dir, "device.pem"),
		KeyFile:         filepath.Join(dir, "device.key"),
	}
	f.Fuzz(func(t *testing.T, chain, key []byte) {
		require.NoError(t, os.WriteFile(files.CertificateFile, chain, 0o600))
		require.NoError(t, os.WriteFile(files.KeyFile, key, 0o600))
		x := &dps.X509Files{CertificateFile: files.CertificateFile, KeyFile: files.KeyFile}
		attestation, err := x.Current(t.Context())
		if err != nil {
			assert.Nil(t, attestation)
			text := err.Error()
			assert.Equal(t, oneline.Of(text, len(text)), text, "one line of what prints")
			assert.Less(t, utf8.RuneCountInString(text), 1000)
			for line := range bytes.Lines(key) {
				if line = bytes.TrimSpace(line); len(line) > 40 {
					assert.NotContains(t, text, string(line))
				}
			}
			assert.Equal(t, retry.Stop, retry.Classify(err))
			assert.Equal(t, err, x.Problem())
			failure, ok := errors.AsType[*dps.Error](err)
			require.True(t, ok)
			assert.Equal(t, "validate", failure.Op)
			return
		}
		require.NoError(t, x.Problem())
		in, ok := attestation.(dps.X509)
		require.True(t, ok)
		again, err := tls.X509KeyPair(chain, key)
		require.NoError(t, err, "they belong together")
		assert.Equal(t, again.Certificate, in.KeyPair.Certificate)
		leaf, err := x509.ParseCertificate(in.KeyPair.Certificate[0])
		require.NoError(t, err)
		assert.Equal(t, leaf.Subject.CommonName, in.RegistrationID())
		assert.NoError(t, in.Validate())
		assert.False(t, strings.ContainsAny(in.RegistrationID(), "/?# \r\n\x00"))
		assert.NotContains(t, string(key), "ENCRYPTED")
	})
}
