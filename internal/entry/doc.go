// SPDX-License-Identifier: Apache-2.0

// Package entry is the form in which a device remembers where it belongs: bytes to value and back,
// and nothing else. When an entry is read and written, and by whom it is sealed, is the caller's.
//
// An entry takes a few hundred bytes:
//
//	"RHME", version (1 byte), length of the body (4 bytes, big endian), body,
//	length of the seal (2 bytes), seal, CRC-32C of all before (4 bytes)
//
// The checksum tells a torn write from a sound one. The seal, made with the device's own key over
// the body, tells whether the device wrote it: who can write the file cannot send the device to a
// hub of theirs. No key and no token is in it.
package entry
