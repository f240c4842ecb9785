// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"testing"
	"testing/iotest"

	"github.com/google/go-tpm/tpm2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sealedBy is what CountedStore stores, with a seal that nobody has made.
func sealedBy(entries counted) []byte {
	seal := bytes.Repeat([]byte{7}, sha256.Size)
	return bytes.Join([][]byte{[]byte(countedMagic), seal, entries.body()}, nil)
}

// Whatever stands in a store: it is read as a whole, each byte in seal, counter or an entry, or not
// at all; and what is read is written and read again as it is.
func FuzzCounted(f *testing.F) {
	whole := sealedBy(counted{value: 3, data: map[string][]byte{
		"": nil, "device": []byte("hub 1"), "other": bytes.Repeat([]byte{0xff}, 300),
	}})
	entries, _, _ := parseCounted(whole)
	require.Len(f, entries.data, 3)
	f.Add(whole)
	f.Add(whole[:len(whole)-1])
	f.Add(sealedBy(counted{data: map[string][]byte{}}))
	f.Add([]byte(countedMagic))
	f.Add([]byte{})
	field := func(length uint32) []byte {
		entry := binary.BigEndian.AppendUint32(sealedBy(counted{value: 1}), length)
		return append(entry, "key"...)
	}
	f.Add(field(3)) // a key without data
	f.Add(field(1 << 31))
	f.Add(field(1<<32 - 1))
	f.Fuzz(func(t *testing.T, stored []byte) {
		entries, seal, body := parseCounted(stored)
		if entries.data == nil {
			assert.Nil(t, seal)
			assert.Nil(t, body)
			return
		}
		require.Len(t, seal, sha256.Size)
		require.Equal(t, stored, bytes.Join([][]byte{[]byte(countedMagic), seal, body}, nil))
		written := sealedBy(entries)
		assert.LessOrEqual(t, len(written), len(stored), "no byte is read twice")
		again, _, _ := parseCounted(written)
		assert.Equal(t, entries.value, again.value)
		assert.True(t, maps.EqualFunc(entries.data, again.data, bytes.Equal))
	})
}

// Whatever a socket says, a response is as long as its header says, and within the limit; nothing
// that follows is read.
func FuzzTPMResponse(f *testing.F) {
	response := func(size uint32, rest string) []byte {
		head := binary.BigEndian.AppendUint32([]byte{0x80, 0x01}, size)
		return append(head, rest...)
	}
	f.Add(response(10, "\x00\x00\x00\x00"))
	f.Add(response(12, "\x00\x00\x00\x00\x00\x00and the next"))
	f.Add(response(12, "\x00\x00\x09\x22")) // it ends early
	f.Add(response(longestResponse, "\x00\x00\x00\x00"))
	f.Add(response(9, "\x00\x00\x00\x00"))
	f.Add(response(longestResponse+1, "\x00\x00\x00\x00"))
	f.Add(response(1<<32-1, "\x00\x00\x00\x00"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, said []byte) {
		from := bytes.NewReader(said)
		got, err := readResponse(iotest.HalfReader(from))
		read := len(said) - from.Len()
		assert.LessOrEqual(t, read, longestResponse)
		if err != nil {
			oneFuzzedLine(t, err)
			return
		}
		require.GreaterOrEqual(t, len(got), headerSize)
		assert.Equal(t, said[:read], got)
		assert.Equal(t, uint32(len(got)), binary.BigEndian.Uint32(got[2:]))
	})
}

// Whatever stands in a file of a key: it is a key as it was written, byte for byte, or an error.
func FuzzWrapped(f *testing.F) {
	key := wrapped{
		root:    tpm2.TPM2BName{Buffer: []byte("name")},
		private: tpm2.TPM2BPrivate{Buffer: []byte("private")},
		public: tpm2.New2B(tpm2.TPMTPublic{
			Type: tpm2.TPMAlgKeyedHash, NameAlg: tpm2.TPMAlgSHA256,
			ObjectAttributes: tpm2.TPMAObject{SignEncrypt: true},
			Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgKeyedHash, &tpm2.TPMSKeyedHashParms{
				Scheme: tpm2.TPMTKeyedHashScheme{
					Scheme: tpm2.TPMAlgHMAC, Details: tpm2.NewTPMUSchemeKeyedHash(
						tpm2.TPMAlgHMAC, &tpm2.TPMSSchemeHMAC{HashAlg: tpm2.TPMAlgSHA256},
					),
				},
			}),
			Unique: tpm2.NewTPMUPublicID(
				tpm2.TPMAlgKeyedHash, &tpm2.TPM2BDigest{Buffer: make([]byte, sha256.Size)},
			),
		}),
	}.marshal()
	_, err := parseWrapped(key)
	require.NoError(f, err)
	f.Add(key)
	f.Add(key[:len(key)-1])
	f.Add(append(bytes.Clone(key), 0))
	f.Add([]byte(magic + "\xff\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, stored []byte) {
		got, err := parseWrapped(stored)
		if err != nil {
			oneFuzzedLine(t, err)
			return
		}
		assert.Equal(t, stored, got.marshal())
	})
}

// Whatever DPS, or who poses as it, has sent as a key: it has its five parts and is for an HMAC
// key, or is refused before the TPM is asked.
func FuzzChallenge(f *testing.F) {
	part := func(text string) string { return "\x00" + string(rune(len(text))) + text }
	public := "\x00\x08\x00\x0b\x00\x04\x00\x40\x00\x00\x00\x10\x00\x00"
	blob := part("credential") + part("secret") + part("duplicate") + part("seed")
	_, err := parseChallenge([]byte(blob + part(public)))
	require.NoError(f, err)
	f.Add([]byte(blob + part(public)))
	f.Add([]byte(blob + part(public) + part("more")))
	f.Add([]byte(blob + part("\x00\x01")))
	f.Add([]byte(blob))
	f.Add([]byte("\xff\xff"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		c, err := parseChallenge(sent)
		if err != nil {
			oneFuzzedLine(t, err)
			return
		}
		parts := 0
		for _, p := range [][]byte{c.credential, c.secret, c.duplicate, c.seed, c.public} {
			parts += 2 + len(p)
		}
		assert.LessOrEqual(t, parts, len(sent))
		public, err := tpm2.Unmarshal[tpm2.TPMTPublic](c.public)
		require.NoError(t, err)
		assert.Equal(t, tpm2.TPMAlgKeyedHash, public.Type)
		assert.True(t, public.ObjectAttributes.SignEncrypt)
	})
}

// oneFuzzedLine requires an error to be one line of what prints.
func oneFuzzedLine(t *testing.T, err error) {
	assert.Regexp(t, `^[ -~]+$`, err.Error())
}
