// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"bytes"
	"crypto/aes"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
)

// attributes of the wrapped key: it signs, with an empty password (sign, userWithAuth). That it is
// not fixed to its TPM nor to its parent is what lets it be imported.
const attributes = 1<<18 | 1<<6

// Wrap wraps an HMAC key of at most 64 bytes for the TPM with an endorsement key and a storage root
// key. The result is what the service calls authenticationKey: TPM2B_ID_OBJECT,
// TPM2B_ENCRYPTED_SECRET, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET, TPM2B_PUBLIC, and an empty UINT16
// length of what clients ignore.
func Wrap(endorsement, root *Public, key []byte) ([]byte, error) {
	if len(key) == 0 || len(key) > sha256.BlockSize {
		return nil, fmt.Errorf("key: %d bytes, want 1 to %d", len(key), sha256.BlockSize)
	}
	inner := random(16)
	identity, secret, err := makeCredential(endorsement, root.name, inner)
	if err != nil {
		return nil, err
	}
	obfuscation := random(sha256.Size)
	area := keyedHash(obfuscation, key)
	sensitive := bytes.Join([][]byte{
		binary.BigEndian.AppendUint16(nil, algKeyedHash), sized(nil), sized(obfuscation),
		sized(key),
	}, nil)
	duplicate, seed, err := duplicate(root, nameOf(area), sensitive, inner)
	if err != nil {
		return nil, err
	}
	return bytes.Join([][]byte{
		sized(identity), sized(secret), sized(duplicate), sized(seed), sized(area), {0, 0},
	}, nil), nil
}

// keyedHash is the public area of an HMAC key (TPMT_PUBLIC).
func keyedHash(obfuscation, key []byte) []byte {
	unique := sha256.Sum256(append(bytes.Clone(obfuscation), key...))
	area := binary.BigEndian.AppendUint16(nil, algKeyedHash)
	area = binary.BigEndian.AppendUint16(area, algSHA256)
	area = binary.BigEndian.AppendUint32(area, attributes)
	area = append(area, sized(nil)...) // no policy
	area = binary.BigEndian.AppendUint16(area, algHMAC)
	area = binary.BigEndian.AppendUint16(area, algSHA256)
	return append(area, sized(unique[:])...)
}

// makeCredential wraps a secret for a TPM that has both an endorsement key and the object of a name
// (TPM2_MakeCredential; Part 1, section 24).
func makeCredential(to *Public, name, secret []byte) (identity, encryptedSeed []byte, err error) {
	seed := random(sha256.Size)
	if encryptedSeed, err = to.encrypt(seed, "IDENTITY"); err != nil {
		return nil, nil, err
	}
	return outerWrap(seed, name, sized(secret)), encryptedSeed, nil
}

// duplicate wraps an object for a new parent, with an inner wrapper (TPM2_Duplicate; Part 1,
// section 23.3).
func duplicate(parent *Public, name, sensitive, inner []byte) (private, seed []byte, err error) {
	integrity := sha256.Sum256(append(sized(sensitive), name...))
	wrapped := cfb(inner, append(sized(integrity[:]), sized(sensitive)...))
	raw := random(sha256.Size)
	if seed, err = parent.encrypt(raw, "DUPLICATE"); err != nil {
		return nil, nil, err
	}
	return outerWrap(raw, name, wrapped), seed, nil
}

// outerWrap encrypts data, and puts an HMAC over it and a name in front.
func outerWrap(seed, name, data []byte) []byte {
	encrypted := cfb(kdfa(seed, "STORAGE", name, 128), data)
	mac := hmac.New(sha256.New, kdfa(seed, "INTEGRITY", nil, 256))
	mac.Write(encrypted)
	mac.Write(name)
	return append(sized(mac.Sum(nil)), encrypted...)
}

// encrypt encrypts a seed for a key. The label ends with a zero (Part 1, annex B.4).
func (p *Public) encrypt(seed []byte, label string) ([]byte, error) {
	return rsa.EncryptOAEP(sha256.New(), rand.Reader, p.key, seed, append([]byte(label), 0))
}

// cfb encrypts, by AES in CFB mode with an initialization vector of zero, which these structures
// prescribe: each key is used once, and an HMAC is beside the mode, which authenticates nothing.
func cfb(key, data []byte) []byte {
	return xorCFB(key, data, func(_, out []byte) []byte { return out })
}

// uncfb decrypts.
func uncfb(key, data []byte) []byte {
	return xorCFB(key, data, func(in, _ []byte) []byte { return in })
}

// xorCFB goes through data block by block; encrypted says which of input and output is.
func xorCFB(key, data []byte, encrypted func(in, out []byte) []byte) []byte {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil // a key of 16 bytes is one
	}
	out := make([]byte, len(data))
	previous, mask := make([]byte, aes.BlockSize), make([]byte, aes.BlockSize)
	for start := 0; start < len(data); start += aes.BlockSize {
		end := min(start+aes.BlockSize, len(data))
		block.Encrypt(mask, previous)
		subtle.XORBytes(out[start:end], data[start:end], mask)
		copy(previous, encrypted(data[start:end], out[start:end]))
	}
	return out
}

// kdfa derives so many bits of a key (Part 1, section 11.4.10.2: KDFa with SHA-256).
func kdfa(key []byte, label string, context []byte, bits uint32) []byte {
	var out []byte
	for counter := uint32(1); len(out) < int(bits/8); counter++ {
		mac := hmac.New(sha256.New, key)
		mac.Write(binary.BigEndian.AppendUint32(nil, counter))
		mac.Write(append([]byte(label), 0))
		mac.Write(context)
		mac.Write(binary.BigEndian.AppendUint32(nil, bits))
		out = mac.Sum(out)
	}
	return out[:bits/8]
}

func random(n int) []byte {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return raw
}
