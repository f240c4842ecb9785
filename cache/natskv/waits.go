// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"encoding/binary"
	"time"

	"github.com/rehome-iot/rehome/internal/boottime"
)

// Waits are stored behind when that was: a version, the run's ID and the clock in nanoseconds.
const (
	waitsVersion = 1
	waitsHeader  = 1 + 16 + 8
)

func encodeWaits(at boottime.Moment, data []byte) []byte {
	value := make([]byte, 0, waitsHeader+len(data))
	value = append(value, waitsVersion)
	value = append(value, at.Boot[:]...)
	value = binary.BigEndian.AppendUint64(value, uint64(at.Clock))
	return append(value, data...)
}

// decodeWaits reports whether value is one that encodeWaits made. NATS has checksums of its own.
func decodeWaits(value []byte) (at boottime.Moment, data []byte, ok bool) {
	if len(value) <= waitsHeader || value[0] != waitsVersion {
		return boottime.Moment{}, nil, false
	}
	at.Boot = [16]byte(value[1:17])
	at.Clock = time.Duration(binary.BigEndian.Uint64(value[17:]))
	return at, value[waitsHeader:], at.Clock >= 0
}
