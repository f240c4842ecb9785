// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto"
	"crypto/ecdsa"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// publicHalf is all that an authority has of a key that is in a token.
type publicHalf struct{ public *ecdsa.PublicKey }

func (p publicHalf) Public() crypto.PublicKey { return p.public }

func (publicHalf) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the private half is in the token")
}

func TestTheDeviceConnectsWithACertificateForAKeyInTheTokenAndRenewsIt(t *testing.T) {
	for name, enroll := range onboarding {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			flags := enroll(w)
			drive := func(args ...string) []sent { return w.drive(append(args, flags...)...) }

			first := drive("-count", "1")
			require.Len(t, first, 1)
			assert.Equal(t, hubName, first[0].Hub)
			assert.Equal(t, deviceID, first[0].DeviceID)
			assert.Equal(t, string(provisioning.CredentialIssued), first[0].Credential)
			assert.InDelta(t, time.Hour, time.Until(first[0].ValidUntil), float64(10*time.Minute))
			keys := w.listed()
			require.Len(t, keys["rehome "+deviceID], 1)
			assert.Len(t, w.hub.Attempts(), 1, "with the issued certificate at once")

			asked := w.asked()
			second := drive("-count", "1")
			assert.Equal(t, first[0], second[0], "the same certificate")
			assert.Equal(t, asked, w.asked(), "DPS was not asked")
			assert.Contains(t, w.lastLog, "source=store")

			time.Sleep(time.Until(first[0].ValidFrom.Add(time.Second))) // of its resolution
			third := drive("-count", "2", "-renew")
			require.Len(t, third, 2)
			assert.Equal(t, first[0].ValidUntil, third[0].ValidUntil)
			assert.True(t, third[1].ValidUntil.After(third[0].ValidUntil), "%v", third)
			renewed := w.listed()
			require.Len(t, renewed["rehome "+deviceID], 1, "the old key is deleted: %v", renewed)
			assert.NotEqual(t, keys["rehome "+deviceID], renewed["rehome "+deviceID])
			assert.Empty(t, renewed["rehome-new "+deviceID])

			fourth := drive("-count", "1")
			assert.Equal(t, third[1].ValidUntil, fourth[0].ValidUntil)
			assert.Equal(t, asked, w.asked(), "DPS was not asked")
			assert.Len(t, w.hub.Messages(), 5)

			found, files := privateKeysIn(t, w.path("store"))
			assert.Zero(t, found)
			assert.GreaterOrEqual(t, files, 2)
			found, _ = privateKeysIn(t, softhsm.Dir())
			assert.Zero(t, found, "not even in the token in the clear")
			assertNowhere(t, w.path("store"), softhsm.PIN, deviceKey)
		})
	}
}

func assertNowhere(t *testing.T, dir string, secrets ...string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, secret := range secrets {
			assert.NotContains(t, string(data), secret, file)
		}
	}
}

// The proof that the search above finds what it looks for: the keys of a device whose keys are made
// in software.
func TestTheSearchForPrivateKeysFindsOne(t *testing.T) {
	w := newWorld(t)
	pair := w.network.CA().Device(deviceID)
	w.enroll(deviceID, dpstest.ClientCertificates(pair.Leaf, nil), time.Hour)
	w.connect(pair, nil, cache.Dir(w.path("store")))
	found, files := privateKeysIn(t, w.path("store"))
	assert.Equal(t, 1, found)
	assert.GreaterOrEqual(t, files, 2)
}

func TestADeviceWithoutACertificatePolicyGoesOnWithWhatItRegisteredWith(t *testing.T) {
	w := newWorld(t)
	flags := onboarding["certificate"](w)
	e, _ := w.dps.Enrollment(deviceID)
	w.enroll(deviceID, e.Attestation, 0)
	got := w.drive(append(flags, "-count", "1")...)
	assert.Equal(t, string(provisioning.CredentialAttestation), got[0].Credential)
	assert.Contains(t, w.lastLog, "no certificate policy")
}

func TestWhatIsWrongIsSaidInOneLineAtTheStart(t *testing.T) {
	w := newWorld(t)
	flags := onboarding["certificate"](w)
	w.write("wrong", "canary-pin-wrong\n")
	w.write("empty", "\n")
	w.write("text", "no certificate\n")
	other := w.network.CA().Device(deviceID)
	w.write("other.pem", pemOf(other.Certificate[0]))
	good := map[string]string{
		"-module": softhsm.Module(t), "-token": w.token, "-pin-file": w.path("pin"),
		"-id": deviceID, "-store": w.path("store"), "-simulator": w.path("ready.json"),
		flags[0]: flags[1], "-count": "1",
	}
	for name, test := range map[string]struct {
		flag, value string
		code        int
		words       string
	}{
		"no module":        {"-module", "", 2, "-module is missing"},
		"module not found": {"-module", "/nonexistent.so", 1, "PKCS #11 module cannot be used"},
		"no token":         {"-token", "another", 1, "token is not there"},
		"wrong PIN":        {"-pin-file", w.path("wrong"), 1, "PIN is wrong"},
		"empty PIN":        {"-pin-file", w.path("empty"), 1, "is empty"},
		"no PIN":           {"-pin-file", "", 2, "PKCS11_PIN"},
		"no PIN file":      {"-pin-file", w.path("none"), 1, "PIN file"},
		"no ID":            {"-id", "", 2, "-id is missing"},
		"another's ID":     {"-id", "board-7", 1, "board-7"},
		"no store":         {"-store", "", 2, "-store is missing"},
		"no scope":         {"-simulator", "", 2, "-scope is missing"},
		"no simulator":     {"-simulator", w.path("none"), 1, "-simulator"},
		"nothing to show":  {"-cert", "", 2, "there is nothing to register with"},
		"two to show":      {"-key-file", w.path("key"), 2, "-cert and -key-file"},
		"no certificate":   {"-cert", w.path("text"), 1, "has no certificate in PEM"},
		"another's":        {"-cert", w.path("other.pem"), 1, "private key"},
		"no key":           {"-cert-key", "maker", 1, "the key is not in the token"},
		"no roots":         {"-roots", w.path("text"), 1, "-roots"},
		"interval":         {"-interval", "0s", 2, "-interval"},
		"count":            {"-count", "-1", 2, "-count"},
		"unknown":          {"-nonsense", "1", 2, "-nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			given := []string{}
			for flag, value := range good {
				if flag != test.flag && value != "" {
					given = append(given, flag, value)
				}
			}
			if test.value != "" {
				given = append(given, test.flag, test.value)
			}
			out, log, code := w.tryWith(given...)
			assert.Equal(t, test.code, code, log)
			assert.Empty(t, out)
			lines := strings.Split(strings.TrimSpace(log), "\n")
			assert.Contains(t, lines[len(lines)-1], test.words)
			if test.flag != "-nonsense" { // where the flags are shown, too
				assert.Len(t, lines, 1, log)
			}
		})
	}
	out, log, code := w.tryWith("-help")
	assert.Zero(t, code)
	assert.Empty(t, out)
	assert.Contains(t, log, "-pin-file")
	assert.Zero(t, w.asked())
}

func TestPINAndKeyMayBeVariables(t *testing.T) {
	w := newWorld(t)
	onboarding["symmetric key"](w)
	t.Setenv("PKCS11_PIN", softhsm.PIN)
	t.Setenv("DEVICE_KEY", deviceKey)
	_, log, code := w.tryWith(
		"-module", softhsm.Module(t), "-token", w.token, "-id", deviceID, "-store",
		w.path("store"), "-simulator", w.path("ready.json"), "-count", "1",
	)
	require.Zero(t, code, log)
	assert.Len(t, w.hub.Messages(), 1)
}
