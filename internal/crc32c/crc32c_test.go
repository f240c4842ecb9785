// SPDX-License-Identifier: Apache-2.0

package crc32c

import (
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTheChecksumIsThatOfHashCRC32(t *testing.T) {
	assert.Equal(t, uint32(0xe3069283), Checksum([]byte("123456789")), "the check value of CRC-32C")
	standard := crc32.MakeTable(crc32.Castagnoli)
	data := make([]byte, 300)
	for size := range data {
		for i := range data[:size] {
			data[i] = byte(rand.Int())
		}
		assert.Equal(t, crc32.Checksum(data[:size], standard), Checksum(data[:size]))
		half := data[: size/2 : size]
		assert.Equal(t, crc32.Checksum(data[:size], standard), Checksum(half, data[size/2:size]))
	}
}
