// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"bytes"
	"encoding/base64"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestProtectedDataIsReadableByItsKeyAloneAndUnchanged(t *testing.T) {
	ctx := t.Context()
	key := dps.SymmetricKey{ID: "sensor", Key: clientCanary}
	other := dps.SymmetricKey{
		ID: "sensor", Key: base64.StdEncoding.EncodeToString(make([]byte, 32)),
	}
	for _, plain := range [][]byte{[]byte("a private key"), {}, make([]byte, 1<<16)} {
		data, err := key.Protect(ctx, plain)
		require.NoError(t, err)
		assert.Len(t, data, len(plain)+28)
		if len(plain) > 0 {
			assert.False(t, bytes.Contains(data, plain))
		}
		again, err := key.Protect(ctx, plain)
		require.NoError(t, err)
		assert.NotEqual(t, data, again)
		for _, protected := range [][]byte{data, again} {
			read, err := key.Unprotect(ctx, protected)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(plain, read))
		}
		_, err = other.Unprotect(ctx, data)
		require.ErrorContains(t, err, "another credential")
	}
	data, err := key.Protect(ctx, []byte("entry"))
	require.NoError(t, err)
	for i := range data {
		changed := bytes.Clone(data)
		changed[i] ^= 1
		_, err := key.Unprotect(ctx, changed)
		require.Error(t, err, i)
		_, err = key.Unprotect(ctx, data[:i])
		require.Error(t, err, i)
	}
	seal, err := key.Seal(ctx, nil)
	require.NoError(t, err)
	_, err = key.Unprotect(ctx, seal)
	require.Error(t, err)
}

// What was protected by an earlier release has to be readable by a later one.
func TestProtectedDataStaysReadable(t *testing.T) {
	key := dps.SymmetricKey{ID: "sensor", Key: clientCanary}
	old, err := base64.StdEncoding.DecodeString(
		"yuqEP3qdK4L+XXLqHaHQXOp/7hPeyR1SxrX4HRVZOvM=",
	)
	require.NoError(t, err)
	plain, err := key.Unprotect(t.Context(), old)
	require.NoError(t, err)
	assert.Equal(t, "kept", string(plain))
}

func TestProtectingNeedsAKey(t *testing.T) {
	for _, call := range []func() ([]byte, error){
		func() ([]byte, error) { return dps.SymmetricKey{ID: "a"}.Protect(t.Context(), nil) },
		func() ([]byte, error) { return dps.SymmetricKey{ID: "a"}.Unprotect(t.Context(), nil) },
	} {
		_, err := call()
		require.ErrorContains(t, err, "key is empty")
	}
}
