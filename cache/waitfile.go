// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/binary"
	"time"

	"github.com/rehome-iot/rehome/internal/crc32c"
)

// A bootTime is a moment within one run of the machine.
type bootTime struct {
	// boot is the run's ID; all zero means that there is no telling.
	boot [16]byte
	// clock is how long the machine had been running, asleep or not.
	clock time.Duration
}

// clockStep is how coarse the clock is. Two readings may differ by as much more
// than the moments do.
const clockStep = 10 * time.Millisecond

// since returns how long before now b was, at least, or a negative duration if
// nobody can say.
func (b bootTime) since(now bootTime) time.Duration {
	if b.boot == ([16]byte{}) || b.boot != now.boot || now.clock < b.clock {
		return -1
	}
	return max(0, now.clock-b.clock-clockStep)
}

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
	at   bootTime
	data []byte
}

const (
	waitMagic  = "rehomeW\x01"
	waitHeader = 40
)

func (w waitFile) encode() []byte {
	file := make([]byte, 0, waitHeader+len(w.data))
	file = append(file, waitMagic...)
	file = append(file, w.at.boot[:]...)
	file = binary.LittleEndian.AppendUint64(file, uint64(w.at.clock))
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
	return waitFile{bootTime{[16]byte(file[8:24]), clock}, data}, true
}
