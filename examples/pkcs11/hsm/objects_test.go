// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/asn1"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestABarePointThatBeginsAsDERDoesIsAPoint(t *testing.T) {
	for {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		bare, err := key.PublicKey.Bytes()
		require.NoError(t, err)
		if int(bare[1]) != len(bare)-2 {
			continue
		}
		got, err := publicKey(oidP256, bare)
		require.NoError(t, err)
		require.True(t, key.PublicKey.Equal(got))
		return
	}
}

// Whatever a token says that its public key is: it is a point of a curve that is used here, the one
// that it has said, or an error of one line.
func FuzzPublicKey(f *testing.F) {
	for _, known := range []struct {
		oid   []byte
		curve elliptic.Curve
	}{{oidP256, elliptic.P256()}, {oidP384, elliptic.P384()}} {
		key, err := ecdsa.GenerateKey(known.curve, rand.Reader)
		require.NoError(f, err)
		bare, err := key.PublicKey.Bytes()
		require.NoError(f, err)
		inDER, err := asn1.Marshal(bare)
		require.NoError(f, err)
		f.Add(known.oid, bare)
		f.Add(known.oid, inDER)
		f.Add(known.oid, inDER[:len(inDER)-1])
		f.Add(oidP256, append(inDER, 0))
		f.Add([]byte("\x06\x01\x00"), bare)
	}
	f.Add(oidP256, []byte{0x04, 0x00})
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, curve, point []byte) {
		key, err := publicKey(curve, point)
		if err != nil {
			assert.Regexp(t, `^[ -~]+$`, err.Error())
			return
		}
		said, err := key.Bytes() // an error where it is no point of its curve
		require.NoError(t, err)
		assert.Equal(t, said, point[len(point)-len(said):])
		inDER, err := asn1.Marshal(said)
		require.NoError(t, err)
		for _, form := range [][]byte{said, inDER} {
			same, err := publicKey(curve, form)
			require.NoError(t, err)
			assert.True(t, key.Equal(same))
		}
	})
}
