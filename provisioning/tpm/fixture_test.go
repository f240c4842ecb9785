// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/swtpm"
	"github.com/rehome-iot/rehome/internal/tpmkey"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/tpm"
)

// newTPM is a new TPM in software, and the way to it.
func newTPM(t *testing.T) (*swtpm.TPM, *tpm.TPM) {
	t.Helper()
	m := swtpm.Start(t)
	way := &tpm.TPM{Address: "unix:" + m.Socket}
	t.Cleanup(func() { assert.NoError(t, way.Close()) })
	return m, way
}

// wrap is what DPS does.
func wrap(t *testing.T, a *tpm.Attestation, key []byte) []byte {
	t.Helper()
	ek, srk, err := a.PublicKeys(t.Context())
	require.NoError(t, err)
	endorsement, err := tpmkey.ParsePublic(ek)
	require.NoError(t, err)
	root, err := tpmkey.ParsePublic(srk)
	require.NoError(t, err)
	blob, err := tpmkey.Wrap(endorsement, root, key)
	require.NoError(t, err)
	return blob
}

const (
	atDPS = "0ne00000001/registrations/dev"
	atHub = "hub.azure-devices.net/devices/dev"
)

var (
	expiry = time.Unix(1_800_000_000, 0)
	key1   = []byte("canary-key-of-a-tpm-for-dps-0001")
	key2   = []byte("canary-key-of-a-tpm-for-hub-0002")
)

// requireToken requires a token for resource to be signed with the key.
func requireToken(t *testing.T, a *tpm.Attestation, resource string, key []byte) {
	t.Helper()
	token, err := a.Token(t.Context(), resource, expiry)
	require.NoError(t, err)
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(url.QueryEscape(resource) + "\n1800000000"))
	want := url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	require.Equal(t, "SharedAccessSignature sr="+url.QueryEscape(resource)+"&sig="+want+
		"&se=1800000000", token)
}

func activate(t *testing.T, a *tpm.Attestation, use dps.KeyUse, key []byte) {
	t.Helper()
	require.NoError(t, a.Activate(t.Context(), use, wrap(t, a, key)))
}

// handles are those in use: transient ones, sessions and persistent ones. It asks by a connection
// of its own, so nobody else may have one.
func handles(t *testing.T, m *swtpm.TPM) (transient, persistent []tpm2.TPMHandle) {
	t.Helper()
	direct(t, m, func(way transport.TPM) {
		transient = append(listed(t, way, 0x80000000), listed(t, way, 0x02000000)...)
		transient = append(transient, listed(t, way, 0x03000000)...)
		persistent = listed(t, way, 0x81000000)
	})
	return transient, persistent
}

func listed(t *testing.T, way transport.TPM, first uint32) []tpm2.TPMHandle {
	t.Helper()
	got, err := tpm2.GetCapability{
		Capability: tpm2.TPMCapHandles, Property: first, PropertyCount: 100,
	}.Execute(way)
	require.NoError(t, err)
	list, err := got.CapabilityData.Data.Handles()
	require.NoError(t, err)
	return list.Handle
}

// direct is the use of a TPM by somebody else.
func direct(t *testing.T, m *swtpm.TPM, use func(transport.TPM)) {
	t.Helper()
	way := &tpm.TPM{Address: "unix:" + m.Socket}
	require.NoError(t, tpm.Use(t.Context(), way, use))
	require.NoError(t, way.Close())
}

func oneLine(t *testing.T, err error, words ...string) {
	t.Helper()
	require.Error(t, err)
	for _, word := range words {
		assert.ErrorContains(t, err, word)
	}
	assert.NotContains(t, err.Error(), "\n")
	assert.False(t, strings.Contains(err.Error(), string(key1[:12])), "a key")
}
