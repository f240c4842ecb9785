// SPDX-License-Identifier: Apache-2.0

package boltstore

import (
	"crypto/sha256"
	"encoding/binary"
	"hash/crc32"

	"github.com/rehome-iot/rehome/cache"
)

// entries is the bucket that holds what devices remember.
var entries = []byte("entries")

// longestKey is the longest key that stands in the file as it is. The database takes longer ones,
// but a page should hold more than one.
const longestKey = 512

// keyOf is the name of a key in the bucket: a letter, and the key or its hash.
func keyOf(key string) []byte {
	if len(key) <= longestKey {
		return append([]byte{'k'}, key...)
	}
	sum := sha256.Sum256([]byte(key))
	return append([]byte{'h'}, sum[:]...)
}

// A value is one byte for the format's version, a CRC-32C of the key and the data, in little-endian
// order, and the data. The database itself has no checksum of what is in its pages.
const (
	version = 1
	header  = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(key string, data []byte) uint32 {
	return crc32.Update(crc32.Checksum([]byte(key), castagnoli), castagnoli, data)
}

func encode(key string, data []byte) []byte {
	value := make([]byte, 0, header+len(data))
	value = append(value, version)
	value = binary.LittleEndian.AppendUint32(value, checksum(key, data))
	return append(value, data...)
}

// decode returns a copy of the data of a value, cache.ErrMiss if there is none, or ErrDamaged.
func decode(key string, value []byte) ([]byte, error) {
	if value == nil {
		return nil, cache.ErrMiss
	}
	if len(value) < header || value[0] != version ||
		binary.LittleEndian.Uint32(value[1:]) != checksum(key, value[header:]) {
		return nil, ErrDamaged
	}
	return append([]byte{}, value[header:]...), nil
}
