// SPDX-License-Identifier: Apache-2.0

package tpmkey

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// TPM_ALG_ID, of what the service's keys are made of.
const (
	algRSA       = 0x0001
	algHMAC      = 0x0005
	algAES       = 0x0006
	algKeyedHash = 0x0008
	algSHA256    = 0x000b
	algNull      = 0x0010
	algCFB       = 0x0043
)

// Public is a public RSA key of a TPM: a storage key, with AES-128 in CFB mode and SHA-256.
type Public struct {
	key  *rsa.PublicKey
	name []byte
}

var errShort = errors.New("it ends early")

// reader takes big-endian fields off the front of bytes. Once they are too few, all is zero.
type reader struct {
	rest []byte
	err  error
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.err, r.rest = errShort, nil
		return make([]byte, min(n, 8))
	}
	taken := r.rest[:n]
	r.rest = r.rest[n:]
	return taken
}

func (r *reader) uint16() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) uint32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }

// sized takes a TPM2B: its size, and so many bytes.
func (r *reader) sized() []byte { return r.take(int(r.uint16())) }

// ParsePublic reads a TPM2B_PUBLIC, as the endorsement key and the storage root key are sent. It
// takes keys of the TCG's default template alone: RSA, SHA-256, AES-128-CFB.
func ParsePublic(data []byte) (*Public, error) {
	outer := reader{rest: data}
	area := outer.sized()
	if outer.err != nil {
		return nil, fmt.Errorf("TPM2B_PUBLIC: %w", outer.err)
	}
	r := reader{rest: area}
	kind, nameAlg := r.uint16(), r.uint16()
	_, _ = r.uint32(), r.sized() // attributes, policy
	symmetric, bits, mode := r.uint16(), r.uint16(), r.uint16()
	scheme, _, exponent := r.uint16(), r.uint16(), r.uint32()
	modulus := r.sized()
	switch {
	case kind != algRSA:
		return nil, fmt.Errorf("TPM2B_PUBLIC: type 0x%04x is not RSA", kind)
	case nameAlg != algSHA256:
		return nil, fmt.Errorf("TPM2B_PUBLIC: name algorithm 0x%04x is not SHA-256", nameAlg)
	case symmetric != algAES || bits != 128 || mode != algCFB || scheme != algNull:
		return nil, errors.New("TPM2B_PUBLIC: not a storage key with AES-128-CFB")
	case r.err != nil:
		return nil, fmt.Errorf("TPM2B_PUBLIC: %w", r.err)
	}
	if exponent == 0 {
		exponent = 65537 // the TPM's way to say so
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: int(exponent)}
	if key.N.BitLen() < 2048 || key.N.BitLen() > 4096 || exponent < 3 || exponent > 1<<31-1 ||
		exponent%2 == 0 {
		return nil, errors.New("TPM2B_PUBLIC: not an RSA key of 2048 to 4096 bits")
	}
	return &Public{key: key, name: nameOf(area)}, nil
}

// nameOf is the name of an object whose public area is given (Part 1, section 16).
func nameOf(area []byte) []byte {
	sum := sha256.Sum256(area)
	return append(binary.BigEndian.AppendUint16(nil, algSHA256), sum[:]...)
}

// sized writes a TPM2B.
func sized(data []byte) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)
}
