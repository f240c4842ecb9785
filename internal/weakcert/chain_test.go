package weakcert_test

import (
	"crypto/x509"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/weakcert"
)

func TestAWeakChainVerifiesButForItsKeys(t *testing.T) {
	for name, bits := range weakcert.Weak {
		certificate, pool := weakcert.Chain(bits, "service.example.net")
		middle, err := x509.ParseCertificate(certificate.Certificate[1])
		require.NoError(t, err)
		between := x509.NewCertPool()
		between.AddCert(middle)
		_, err = certificate.Leaf.Verify(x509.VerifyOptions{
			DNSName: "service.example.net", Roots: pool, Intermediates: between,
		})
		assert.NoError(t, err, name)
	}
}
