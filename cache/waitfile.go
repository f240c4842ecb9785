// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/binary"
	"time"

	"github.com/rehome-iot/rehome/internal/boottime"
	"github.com/rehome-iot/rehome/internal/crc32c"
)

// A waitFile is what is in a file of waits: the data and when it was stored. The
// file begins with a header of fixed length, in little-endian order:
//
//	 0  "rehomeW" and the format's version, 1
//	 8  ID of the machine's run
//	24  clock, in nanoseconds
//	32  length of the data
//	36  CRC-32C of all that is before and behind it
//	40  data
//
// The checksum finds what a power cut has torn, since nothing is synced.
type waitFile struct {
	at   boottime.Moment
	data []byte
}

const (
	waitMagic  = "rehomeW\x01"
	waitHeader = 40
)

func (w waitFile) encode() []byte {
	file := make([]byte, 0, waitHeader+len(w.data))
	file = append(file, waitMagic...)
	file = append(file, w.at.Boot[:]...)
	file = binary.LittleEndian.AppendUint64(file, uint64(w.at.Clock))
	file = binary.LittleEndian.AppendUint32(file, uint32(len(w.data)))
	file = binary.LittleEndian.AppendUint32(file, crc32c.Checksum(file, w.data))
	return append(file, w.data...)
}

// decodeWaits reports whether file is one that encode made, whole.
func decodeWaits(file []byte) (w waitFile, ok bool) {
	if len(file) <= waitHeader || string(file[:8]) != waitMagic {
		return waitFile{}, false
	}
	data := file[waitHeader:]
	clock := time.Duration(binary.LittleEndian.Uint64(file[24:]))
	if clock < 0 || int64(binary.LittleEndian.Uint32(file[32:])) != int64(len(data)) ||
		binary.LittleEndian.Uint32(file[36:]) != crc32c.Checksum(file[:36], data) {
		return waitFile{}, false
	}
	return waitFile{boottime.Moment{Boot: [16]byte(file[8:24]), Clock: clock}, data}, true
}
