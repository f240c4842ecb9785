// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestMain(m *testing.M) { os.Exit(softhsm.Main(m)) }

const (
	hubName  = "hub-a.azure-devices.net"
	deviceID = "board-1"
)

var deviceKey = base64.StdEncoding.EncodeToString([]byte("canary-key-of-a-board-0123456789"))

// world is the service, and a token.
type world struct {
	t       *testing.T
	network *simnet.Network
	dps     *dpstest.Server
	hub     *hubtest.Hub
	dir     string
	token   string // its label
	lastLog string
}

// newWorld is one that a program reaches over loopback.
func newWorld(t *testing.T) *world {
	t.Helper()
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	w := &world{t: t, network: n, dir: t.TempDir(), token: label(t)}
	softhsm.Init(t, w.token)
	w.serve()
	w.write("ca.pem", string(n.CA().PEM()))
	line, err := json.Marshal(ready{
		HTTPS: n.HTTPSAddr(), MQTT: n.MQTTAddr(), IDScope: w.dps.IDScope(), CA: w.path("ca.pem"),
	})
	require.NoError(t, err)
	w.write("ready.json", string(line))
	w.write("pin", softhsm.PIN+"\n")
	w.write("key", deviceKey+"\n")
	return w
}

// label is that of the test's token, within the 32 bytes that a token has for it.
func label(t *testing.T) string {
	name := strings.NewReplacer("/", " ", "Test", "").Replace(t.Name())
	return strings.TrimSpace(name[max(0, len(name)-32):])
}

func (w *world) serve() {
	w.dps = dpstest.New(w.network, dpstest.Config{RetryAfter: time.Second})
	w.hub = hubtest.NewHub(w.network, hubName)
	w.dps.Link(w.hub)
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(w.path(name), []byte(text), 0o600))
}

// enroll enrolls a device, with a certificate policy if there is a validity.
func (w *world) enroll(id string, a dpstest.Attestation, validity time.Duration) {
	w.t.Helper()
	e := dpstest.IndividualEnrollment{RegistrationID: id, Attestation: a}
	if validity > 0 {
		require.NoError(w.t, w.dps.Issuer().SetPolicy(hubtest.CertificatePolicy{
			Namespace: "fleet", Authority: "boards", Name: "policy", Validity: validity,
		}))
		e.NamespaceName, e.CertificateAuthorityName, e.CertificatePolicyName =
			"fleet", "boards", "policy"
	}
	require.NoError(w.t, w.dps.Enroll(e))
}

// onboarding enrolls the device in one of the ways, and returns the flags for it.
var onboarding = map[string]func(*world) []string{
	"symmetric key": func(w *world) []string {
		w.enroll(deviceID, dpstest.Keys(deviceKey, ""), time.Hour)
		return []string{"-key-file", w.path("key")}
	},
	"certificate": func(w *world) []string {
		out, errors, code := w.try("-csr", "-id", deviceID)
		require.Zero(w.t, code, errors)
		block, _ := pem.Decode([]byte(out))
		require.NotNil(w.t, block, out)
		request, err := x509.ParseCertificateRequest(block.Bytes)
		require.NoError(w.t, err)
		require.NoError(w.t, request.CheckSignature())
		again, _, _ := w.try("-csr", "-id", deviceID)
		other, _ := pem.Decode([]byte(again))
		same, err := x509.ParseCertificateRequest(other.Bytes)
		require.NoError(w.t, err)
		require.True(w.t, request.PublicKey.(*ecdsa.PublicKey).Equal(same.PublicKey))

		der := w.certify(deviceID, request.PublicKey.(*ecdsa.PublicKey))
		leaf, err := x509.ParseCertificate(der)
		require.NoError(w.t, err)
		w.write("cert.pem", string(pem.EncodeToMemory(&pem.Block{
			Type: "CERTIFICATE", Bytes: der,
		})))
		w.enroll(deviceID, dpstest.ClientCertificates(leaf, nil), time.Hour)
		return []string{"-cert", w.path("cert.pem")}
	},
}

// certify is what the device's maker does with a request.
func (w *world) certify(name string, public *ecdsa.PublicKey) []byte {
	return w.network.CA().DeviceFor(name, publicHalf{public}).Certificate[0]
}

// try runs the program to its end.
func (w *world) try(args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	return w.tryWith(append([]string{
		"-module", softhsm.Module(w.t), "-token", w.token, "-pin-file", w.path("pin"),
	}, args...)...)
}

func (w *world) tryWith(args ...string) (stdout, stderr string, code int) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	var out, log bytes.Buffer
	code = run(ctx, args, &out, &log)
	require.NoError(w.t, ctx.Err(), "it does not end: %s", &log)
	for _, secret := range []string{softhsm.PIN, deviceKey, "canary"} {
		assert.NotContains(w.t, out.String()+log.String(), secret)
	}
	w.lastLog = log.String()
	return out.String(), log.String(), code
}

// sent is what the device prints of a message.
type sent struct {
	Sent       int       `json:"sent"`
	Hub        string    `json:"hub"`
	DeviceID   string    `json:"deviceId"`
	Credential string    `json:"credential"`
	ValidFrom  time.Time `json:"validFrom"`
	ValidUntil time.Time `json:"validUntil"`
}

// drive runs the device until it has sent what it should.
func (w *world) drive(args ...string) (all []sent) {
	w.t.Helper()
	out, errors, code := w.try(append([]string{
		"-id", deviceID, "-store", w.path("store"), "-simulator", w.path("ready.json"),
		"-interval", "100ms",
	}, args...)...)
	require.Zero(w.t, code, errors)
	for line := range strings.Lines(out) {
		var s sent
		require.NoError(w.t, json.Unmarshal([]byte(line), &s), line)
		all = append(all, s)
	}
	return all
}

// listed are the keys in the token by their labels.
func (w *world) listed() map[string][]string {
	w.t.Helper()
	out, errors, code := w.try("-list")
	require.Zero(w.t, code, errors)
	keys := map[string][]string{}
	for line := range strings.Lines(out) {
		m := listLine.FindStringSubmatch(line)
		require.NotNil(w.t, m, line)
		keys[m[2]] = append(keys[m[2]], m[1])
	}
	return keys
}

var listLine = regexp.MustCompile(`^([0-9a-f]{32})  stays in the token  "(.*)"\n$`)

// asked is how often a device asked DPS for anything but how its registration goes.
func (w *world) asked() int { return w.dps.Count(dpstest.Register, dpstest.Lookup) }

var inBase64 = regexp.MustCompile(`[A-Za-z0-9+/]{64,}={0,2}`)

// privateKeysIn counts the private keys in files: PKCS #8 or SEC 1, in DER anywhere, in PEM, or in
// base64 of DER.
func privateKeysIn(t *testing.T, dir string) (found, files int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		files++
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		found += bytes.Count(data, []byte("PRIVATE KEY-----")) + keysWithin(data)
		for _, text := range inBase64.FindAll(data, -1) {
			text = text[:len(text)/4*4]
			if der, err := base64.StdEncoding.DecodeString(string(text)); err == nil {
				found += keysWithin(der)
			}
		}
		return nil
	}))
	return found, files
}

// keysWithin counts what can be read as a key from where a SEQUENCE begins, and is one to its end.
func keysWithin(data []byte) (found int) {
	for i := range data {
		if data[i] != 0x30 || i+2 >= len(data) {
			continue
		}
		size := int(data[i+1]) + 2
		if data[i+1] == 0x81 {
			size = int(data[i+2]) + 3
		}
		if i+size > len(data) {
			continue
		}
		der := data[i : i+size]
		if _, err := x509.ParsePKCS8PrivateKey(der); err == nil {
			found++
		} else if _, err := x509.ParseECPrivateKey(der); err == nil {
			found++
		}
	}
	return found
}
