// SPDX-License-Identifier: Apache-2.0

package crc32c

// table has the remainder of each half of a byte, by the reversed polynomial 0x82f63b78.
var table = func() (t [16]uint32) {
	for i := range t {
		r := uint32(i)
		for range 4 {
			r = r>>1 ^ -(r&1)&0x82f63b78
		}
		t[i] = r
	}
	return t
}()

// Checksum returns the checksum of the parts, one after another.
func Checksum(parts ...[]byte) uint32 {
	sum := ^uint32(0)
	for _, part := range parts {
		for _, b := range part {
			sum ^= uint32(b)
			sum = sum>>4 ^ table[sum&0xf]
			sum = sum>>4 ^ table[sum&0xf]
		}
	}
	return ^sum
}
