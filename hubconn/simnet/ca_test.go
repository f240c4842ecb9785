// SPDX-License-Identifier: Apache-2.0

package simnet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestChainsVerify(t *testing.T) {
	now := time.Date(2030, 5, 1, 0, 0, 0, 0, time.UTC)
	root := NewCA("Root", now)
	ca := root.Intermediate("Factory").Intermediate("Line 1")
	verify := func(c tls.Certificate, at time.Time, usage x509.ExtKeyUsage) error {
		between := x509.NewCertPool()
		for _, der := range c.Certificate[1:] {
			cert, err := x509.ParseCertificate(der)
			require.NoError(t, err)
			between.AddCert(cert)
		}
		_, err := c.Leaf.Verify(x509.VerifyOptions{
			Roots: root.Pool(), Intermediates: between, CurrentTime: at,
			KeyUsages: []x509.ExtKeyUsage{usage},
		})
		return err
	}
	device := ca.Device("dev1")
	assert.Equal(t, "dev1", device.Leaf.Subject.CommonName)
	assert.Len(t, device.Certificate, 3, "leaf and two intermediates, without the root")
	assert.NoError(t, verify(device, now, x509.ExtKeyUsageClientAuth))
	assert.NoError(t, verify(device, now.Add(-23*time.Hour), x509.ExtKeyUsageClientAuth))
	assert.Error(t, verify(device, now.Add(-25*time.Hour), x509.ExtKeyUsageClientAuth))
	assert.NoError(t, verify(device, now.Add(364*24*time.Hour), x509.ExtKeyUsageClientAuth))
	assert.Error(t, verify(device, now.Add(366*24*time.Hour), x509.ExtKeyUsageClientAuth))
	assert.Error(t, verify(device, now, x509.ExtKeyUsageServerAuth))

	server := root.Server("a.example", "127.0.0.1")
	assert.NoError(t, verify(server, now, x509.ExtKeyUsageServerAuth))
	assert.NoError(t, server.Leaf.VerifyHostname("a.example"))
	assert.NoError(t, server.Leaf.VerifyHostname("127.0.0.1"))
	assert.Error(t, server.Leaf.VerifyHostname("b.example"))

	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	elsewhere := ca.DeviceFor("tpm-1", key)
	assert.NoError(t, verify(elsewhere, now, x509.ExtKeyUsageClientAuth))
	assert.Equal(t, key.Public(), elsewhere.Leaf.PublicKey)
	assert.NotEqual(t, device.Leaf.Raw, elsewhere.Leaf.Raw)
}

func TestCAIsKeptAndLoaded(t *testing.T) {
	now := time.Now()
	ca := NewCA("Kept", now)
	key, err := ca.KeyPEM()
	require.NoError(t, err)
	again, err := LoadCA(ca.PEM(), key, now)
	require.NoError(t, err)
	_, err = again.Device("dev1").Leaf.Verify(x509.VerifyOptions{
		Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	assert.NoError(t, err)

	n, err := Listen(ListenConfig{CA: again})
	require.NoError(t, err)
	defer n.Close()
	assert.Equal(t, ca.Certificate().Raw, n.CA().Certificate().Raw)

	_, err = LoadCA([]byte("nothing"), key, now)
	assert.ErrorContains(t, err, "simnet: load CA: ")
	other, err := NewCA("Other", now).KeyPEM()
	require.NoError(t, err)
	_, err = LoadCA(ca.PEM(), other, now)
	assert.ErrorContains(t, err, "simnet: load CA: ")
}
