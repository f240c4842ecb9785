// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// pairFiles are a certificate and a key on disk, as an agent renews them.
type pairFiles struct {
	*testing.T
	ca    *simnet.CA
	dir   string
	files *dps.X509Files
}

func newPairFiles(t *testing.T) *pairFiles {
	t.Helper()
	f := &pairFiles{T: t, ca: simnet.NewCA("Factory", time.Now()), dir: t.TempDir()}
	f.files = &dps.X509Files{
		CertificateFile: filepath.Join(f.dir, "device.pem"),
		KeyFile:         filepath.Join(f.dir, "device.key"),
	}
	return f
}

// write writes a file as an agent should, by renaming.
func (f *pairFiles) write(name string, data []byte) {
	f.Helper()
	require.NoError(f, os.WriteFile(name+".new", data, 0o600))
	require.NoError(f, os.Rename(name+".new", name))
}

// renew puts another pair in place, the key first.
func (f *pairFiles) renew(name string) tls.Certificate {
	f.Helper()
	pair := f.ca.Device(name)
	f.write(f.files.KeyFile, keyPEM(f, pair.PrivateKey))
	f.write(f.files.CertificateFile, chainPEM(pair))
	return pair
}

// current returns the leaf in force.
func (f *pairFiles) current() []byte {
	f.Helper()
	attestation, err := f.files.Current(f.Context())
	require.NoError(f, err)
	certificate, err := attestation.Certificate(f.Context())
	require.NoError(f, err)
	return certificate.Certificate[0]
}

func chainPEM(pair tls.Certificate) (text []byte) {
	for _, der := range pair.Certificate {
		text = append(text, armoured("CERTIFICATE", der)...)
	}
	return text
}

func armoured(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

func keyPEM(t require.TestingT, key crypto.PrivateKey) []byte {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	return armoured("PRIVATE KEY", der)
}

// isClosed tells whether something was told.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func TestARenewedPairOfFilesComesIntoForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newPairFiles(t)
		first := f.renew("dev")
		require.NoError(t, f.files.Validate())
		assert.Equal(t, "dev", f.files.RegistrationID())
		assert.Equal(t, first.Certificate[0], f.current())
		before, err := f.files.Fingerprint(t.Context())
		require.NoError(t, err)
		changed := f.files.Changed()
		assert.Equal(t, changed, f.files.Changed(), "one channel, and one timer, for all")
		time.Sleep(time.Hour)
		assert.False(t, isClosed(changed))

		start := time.Now()
		second := f.renew("Dev") // the service ignores letter case
		<-changed
		assert.LessOrEqual(t, time.Since(start), 30*time.Second)
		assert.Equal(t, second.Certificate[0], f.current())
		assert.Equal(t, "dev", f.files.RegistrationID(), "it does not change")
		after, err := f.files.Fingerprint(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, before, after)

		changed = f.files.Changed()
		third := f.renew("dev")
		certificate, err := f.files.Certificate(t.Context())
		require.NoError(t, err)
		assert.Equal(t, second.Certificate[0], certificate.Certificate[0], "not looked at yet")
		assert.Equal(t, third.Certificate[0], f.current(), "Current looks at once")
		assert.True(t, isClosed(changed), "and tells those who wait")

		f.files = &dps.X509Files{
			CertificateFile: f.files.CertificateFile, KeyFile: f.files.KeyFile,
			Interval: time.Second,
		}
		f.current()
		changed = f.files.Changed()
		time.Sleep(time.Minute)
		assert.False(t, isClosed(changed))
		f.renew("dev")
		time.Sleep(time.Second)
		synctest.Wait()
		assert.True(t, isClosed(changed), "each Interval")
		_ = f.files.Changed() // nobody waits: the bubble would not end if a goroutine did
	})
}

func TestABadPairOfFilesLeavesTheFormerInForce(t *testing.T) {
	f := newPairFiles(t)
	first := f.renew("dev")
	f.current()
	next, stranger := f.ca.Device("dev"), f.ca.Device("other")
	chain, key := chainPEM(next), keyPEM(t, next.PrivateKey)
	put := func(chain, key []byte) func() {
		return func() {
			f.write(f.files.CertificateFile, chain)
			f.write(f.files.KeyFile, key)
		}
	}
	then := func(first func(), second func() error) func() {
		return func() {
			first()
			require.NoError(t, second())
		}
	}
	two := append(bytes.Clone(chain), chainPEM(stranger)...)
	faults := map[string]struct {
		make func()
		want string
	}{
		"the key replaced first":       {put(chainPEM(first), key), "does not match"},
		"the certificate first":        {put(chain, keyPEM(t, first.PrivateKey)), "does not match"},
		"half of a certificate":        {put(chain[:len(chain)/2], key), "device.pem is cut short"},
		"half of the issuer":           {put(two[:len(two)-200], key), "device.pem is cut short"},
		"half of a key":                {put(chain, key[:len(key)/2]), "device.key"},
		"an empty certificate":         {put(nil, key), "device.pem"},
		"an empty key":                 {put(chain, nil), "device.key"},
		"junk":                         {put([]byte("x"), []byte("y")), "device.pem"},
		"der":                          {put(next.Certificate[0], key), "device.pem"},
		"another device's":             {put(chainPEM(stranger), keyPEM(t, stranger.PrivateKey)), `of "other" now, it was of "dev"`},
		"an encrypted key":             {put(chain, armoured("ENCRYPTED PRIVATE KEY", []byte("x"))), "device.key is encrypted"},
		"an endless file":              {put(make([]byte, 1<<20), key), "device.pem is longer than 262144"},
		"a vanished certificate":       {then(put(chain, key), func() error { return os.Remove(f.files.CertificateFile) }), "certificate file cannot be read"},
		"a vanished key":               {then(put(chain, key), func() error { return os.Remove(f.files.KeyFile) }), "key file cannot be read"},
		"a directory":                  {then(put(chain, key), func() error { return asDirectory(f.files.KeyFile) }), "device.key is not a file"},
		"a certificate with no name":   {put(armoured("CERTIFICATE", clientPair(t, "", first.PrivateKey.(crypto.Signer)).Certificate[0]), keyPEM(t, first.PrivateKey)), "no common name"},
		"a certificate as its own key": {put(chain, chain), "device.key"},
	}
	if runtime.GOOS != "windows" { // which has no such modes
		for _, mode := range []os.FileMode{0o644, 0o604, 0o602, 0o601} {
			open := faults["junk"]
			open.want = fmt.Sprintf("device.key has mode %#o and is open to everybody", mode)
			open.make = then(put(chain, key), func() error {
				return os.Chmod(f.files.KeyFile, mode)
			})
			faults[fmt.Sprintf("mode %#o", mode)] = open
		}
	}
	for name, fault := range faults {
		changed := f.files.Changed()
		fault.make()
		assert.Equal(t, first.Certificate[0], f.current(), name)
		require.ErrorContains(t, f.files.Problem(), fault.want, name)
		assert.NotContains(t, f.files.Problem().Error(), "\n", name)
		require.NoError(t, f.files.Validate(), name)
		assert.False(t, isClosed(changed), name)

		fresh := &dps.X509Files{
			ID: "dev", CertificateFile: f.files.CertificateFile, KeyFile: f.files.KeyFile,
		}
		_, err := fresh.Current(t.Context())
		require.Error(t, err, "%s: there is no former one", name)
		assert.Equal(t, retry.Stop, retry.Classify(err))
		require.Equal(t, err, fresh.Validate())

		require.NoError(t, os.RemoveAll(f.files.KeyFile))
		put(chainPEM(first), keyPEM(t, first.PrivateKey))()
		assert.Equal(t, first.Certificate[0], f.current(), name)
		require.NoError(t, f.files.Problem(), "%s: mended", name)
	}
}

func asDirectory(name string) error {
	if err := os.Remove(name); err != nil {
		return err
	}
	return os.Mkdir(name, 0o700)
}

func TestAPairOfFilesIsMountedAnewByASymbolicLink(t *testing.T) {
	f := newPairFiles(t)
	data := filepath.Join(f.dir, "..data")
	mount := func(generation string) tls.Certificate { // as a Kubernetes volume does
		dir := filepath.Join(f.dir, generation)
		require.NoError(t, os.Mkdir(dir, 0o700))
		pair := f.ca.Device("dev")
		f.write(filepath.Join(dir, "tls.crt"), chainPEM(pair))
		f.write(filepath.Join(dir, "tls.key"), keyPEM(t, pair.PrivateKey))
		require.NoError(t, os.Symlink(generation, data+".new"))
		require.NoError(t, os.Rename(data+".new", data))
		return pair
	}
	first := mount("1")
	for name, link := range map[string]*string{
		"tls.crt": &f.files.CertificateFile, "tls.key": &f.files.KeyFile,
	} {
		*link = filepath.Join(f.dir, name)
		require.NoError(t, os.Symlink(filepath.Join("..data", name), *link))
	}
	assert.Equal(t, first.Certificate[0], f.current())
	second := mount("2")
	assert.Equal(t, second.Certificate[0], f.current())
	require.NoError(t, os.RemoveAll(filepath.Join(f.dir, "2")))
	assert.Equal(t, second.Certificate[0], f.current())
	require.Error(t, f.files.Problem())
}

func TestKeyFilesOfEachFormatAreRead(t *testing.T) {
	keys := clientKeys()
	ec, ok := keys["ecdsa p-384"].(*ecdsa.PrivateKey)
	require.True(t, ok)
	sec1, err := x509.MarshalECPrivateKey(ec)
	require.NoError(t, err)
	rsaKey, ok := keys["rsa 2048"].(*rsa.PrivateKey)
	require.True(t, ok)
	openssl := append(
		armoured("EC PARAMETERS", []byte{6, 5, 0x2b, 0x81, 4, 0, 0x22}),
		armoured("EC PRIVATE KEY", sec1)...,
	)
	for name, in := range map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"pkcs 8 ecdsa": {ec, keyPEM(t, ec)}, "pkcs 8 rsa": {rsaKey, keyPEM(t, rsaKey)},
		"pkcs 8 ed25519": {keys["ed25519"], keyPEM(t, keys["ed25519"])},
		"sec 1":          {ec, armoured("EC PRIVATE KEY", sec1)},
		"openssl":        {ec, openssl},
		"pkcs 1":         {rsaKey, armoured("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(rsaKey))},
	} {
		f := newPairFiles(t)
		chain := chainPEM(clientPair(t, "dev", in.key))
		f.write(f.files.CertificateFile, chain)
		f.write(f.files.KeyFile, in.text)
		require.NoError(t, f.files.Validate(), name)
		f.write(f.files.KeyFile, append(chain, in.text...))
		f.files = &dps.X509Files{CertificateFile: f.files.KeyFile, KeyFile: f.files.KeyFile}
		require.NoError(t, f.files.Validate(), "%s: in one file", name)
		seal, err := f.files.Seal(t.Context(), []byte("entry"))
		require.NoError(t, err, name)
		require.NoError(t, f.files.Verify(t.Context(), []byte("entry"), seal), name)
	}
}

func TestADeviceRegistersWithTheFilesInForce(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		f := newPairFiles(w.T)
		f.ca = w.network.CA().Intermediate("factory")
		require.NoError(w, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "boards",
			Attestation:       dpstest.SigningCertificates(f.ca.Certificate(), nil),
		}))
		f.renew("board-7")
		w.client.Attestation = f.files
		for range 2 {
			assert.Equal(w, "board-7", w.register(dps.Registration{}).DeviceID)
			pair := f.renew("board-7")
			_, err := w.client.Lookup(w.Context())
			require.NoError(w, err)
			certificate, err := f.files.Certificate(w.Context())
			require.NoError(w, err)
			assert.Equal(w, pair.Certificate[0], certificate.Certificate[0], "read by the look-up")
		}
	})
}

func TestPairFilesServeSeveralGoroutinesWhileTheyAreRenewed(t *testing.T) {
	f := newPairFiles(t)
	f.renew("dev")
	f.files.Interval = time.Millisecond
	f.current() // from now on there is one in force
	pairs := make([]tls.Certificate, 8)
	for i := range pairs {
		pairs[i] = f.ca.Device("dev")
	}
	done := make(chan struct{})
	var users sync.WaitGroup
	for range 3 {
		users.Go(func() {
			for !isClosed(done) {
				changed := f.files.Changed()
				attestation, err := f.files.Current(t.Context())
				if !assert.NoError(t, err) || !assert.NoError(t, attestation.Validate()) {
					return // a pair that does not belong together
				}
				_, err = f.files.Certificate(t.Context())
				assert.NoError(t, err)
				_ = f.files.Problem()
				select {
				case <-changed:
				case <-done:
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	for i := range 200 {
		pair := pairs[i%len(pairs)]
		f.write(f.files.KeyFile, keyPEM(t, pair.PrivateKey))
		f.write(f.files.CertificateFile, chainPEM(pair))
	}
	close(done)
	users.Wait()
	assert.Equal(t, pairs[len(pairs)-1].Certificate[0], f.current())
}
