// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOneTPMAloneUnwrapsTheKey(t *testing.T) {
	tpm, err := NewSoft()
	require.NoError(t, err)
	other, err := NewSoft()
	require.NoError(t, err)
	endorsement, err := ParsePublic(tpm.EndorsementKey())
	require.NoError(t, err)
	root, err := ParsePublic(tpm.StorageRootKey())
	require.NoError(t, err)
	key := []byte("canary-key-of-a-tpm-0123456789ab")
	blob, err := Wrap(endorsement, root, key)
	require.NoError(t, err)
	again, err := Wrap(endorsement, root, key)
	require.NoError(t, err)
	assert.NotEqual(t, blob, again)
	assert.NotContains(t, string(blob), string(key))
	got, err := tpm.Unwrap(blob)
	require.NoError(t, err)
	assert.Equal(t, key, got)
	_, err = other.Unwrap(blob)
	assert.Error(t, err)
	for i := range blob[:len(blob)-2] {
		changed := bytes.Clone(blob)
		changed[i] ^= 1
		_, err := tpm.Unwrap(changed)
		require.Error(t, err, "byte %d", i)
	}
	for _, wrong := range [][]byte{nil, make([]byte, 65)} {
		_, err := Wrap(endorsement, root, wrong)
		assert.Error(t, err)
	}
}

func TestKDFaGivesWhatItIsKnownToGive(t *testing.T) {
	// By its definition: HMAC-SHA-256 over counter, label, zero, context and number of bits, as
	// Python's hmac computes it.
	got := kdfa(bytes.Repeat([]byte{7}, 32), "STORAGE", []byte("context"), 256)
	assert.Equal(
		t,
		"e04d1827fc1998ae05bf2cd77314ab1f121763558c78262d48829af898761b4e",
		hex.EncodeToString(got),
	)
}

func TestWhatIsNoStorageKeyIsRefused(t *testing.T) {
	tpm, err := NewSoft()
	require.NoError(t, err)
	good := tpm.EndorsementKey()
	for n := range len(good) {
		_, err := ParsePublic(good[:n])
		require.Error(t, err, "%d bytes of it", n)
	}
	for name, at := range map[string]int{
		"type": 3, "name algorithm": 5, "symmetric": 45, "bits": 47, "mode": 49, "scheme": 51,
	} {
		changed := bytes.Clone(good)
		changed[at] ^= 0x40
		_, err := ParsePublic(changed)
		assert.Error(t, err, name)
	}
}

func FuzzParsePublic(f *testing.F) {
	tpm, err := NewSoft()
	require.NoError(f, err)
	f.Add(tpm.EndorsementKey())
	f.Add([]byte{0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParsePublic(data)
		if err == nil {
			require.Len(t, p.name, 2+sha256.Size)
			_, err = Wrap(p, p, []byte("key"))
			_ = err // a modulus that is no product of primes encrypts all the same
		}
	})
}
