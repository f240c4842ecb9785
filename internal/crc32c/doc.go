// SPDX-License-Identifier: Apache-2.0

// Package crc32c is the checksum of what a device remembers: CRC-32 with Castagnoli's polynomial
// (RFC 3720 §12.1).
//
// hash/crc32 is much faster for what is long, once it has made tables of 33 KB; that takes longer
// than everything else that a boot does with its record, which has a few hundred bytes. This one
// needs 64 bytes.
package crc32c
