// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheRootsOfTheServicesAreBuiltIn(t *testing.T) {
	pool := Public.builtIn()
	for name, want := range map[string]struct {
		der         []byte
		fingerprint string // SHA-256, as the authorities publish it
	}{
		"DigiCert Global Root G2": {
			digiCertG2, "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f",
		},
		"DigiCert Global Root G3": {
			digiCertG3, "31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0",
		},
		"Microsoft RSA Root Certificate Authority 2017": {
			microsoftRSA, "c741f70f4b2a8d88bf2e71c14122ef53ef10eba0cfa5e64cfa20f418853073e0",
		},
		"Microsoft ECC Root Certificate Authority 2017": {
			microsoftECC, "358df39d764af9e1b766e9c972df352ee15cfac227af6ad1d70e8e4a6edcba02",
		},
	} {
		digest := sha256.Sum256(want.der)
		assert.Equal(t, want.fingerprint, hex.EncodeToString(digest[:]), name)
		root, err := x509.ParseCertificate(want.der)
		require.NoError(t, err, name)
		assert.Equal(t, name, root.Subject.CommonName)
		_, err = root.Verify(x509.VerifyOptions{
			Roots: pool, CurrentTime: time.Date(2037, 1, 1, 0, 0, 0, 0, time.UTC),
		})
		assert.NoError(t, err, "%s is in the pool, and good until 2038 at least", name)
	}
}
