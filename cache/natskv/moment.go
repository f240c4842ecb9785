// SPDX-License-Identifier: Apache-2.0

package natskv

import (
	"encoding/binary"
	"encoding/hex"
	"os"
	"strings"
	"time"
)

// A moment is a time within one run of one machine, by a clock that nobody sets. Its zero value is
// that of a machine that has no such clock.
type moment struct {
	boot  [16]byte
	clock time.Duration
}

// clockStep is how coarse the clock is: two readings may differ by as much more than the moments.
const clockStep = 10 * time.Millisecond

// readMoment asks the kernel, where it is Linux. Containers of one machine agree.
func readMoment() moment {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return moment{}
	}
	uptime, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return moment{}
	}
	boot, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(id)), "-", ""))
	seconds, _, _ := strings.Cut(string(uptime), " ")
	clock, clockErr := time.ParseDuration(seconds + "s")
	if err != nil || clockErr != nil || len(boot) != 16 || clock < 0 {
		return moment{}
	}
	return moment{[16]byte(boot), clock}
}

// since returns how long before now m was, at least, or a negative duration if nobody can say.
func (m moment) since(now moment) time.Duration {
	if m.boot == ([16]byte{}) || m.boot != now.boot || now.clock < m.clock {
		return -1
	}
	return max(0, now.clock-m.clock-clockStep)
}

// Waits are stored behind when that was: a version, the run's ID and the clock in nanoseconds.
const (
	waitsVersion = 1
	waitsHeader  = 1 + 16 + 8
)

func encodeWaits(at moment, data []byte) []byte {
	value := make([]byte, 0, waitsHeader+len(data))
	value = append(value, waitsVersion)
	value = append(value, at.boot[:]...)
	value = binary.BigEndian.AppendUint64(value, uint64(at.clock))
	return append(value, data...)
}

// decodeWaits reports whether value is one that encodeWaits made. NATS has checksums of its own.
func decodeWaits(value []byte) (at moment, data []byte, ok bool) {
	if len(value) <= waitsHeader || value[0] != waitsVersion {
		return moment{}, nil, false
	}
	at = moment{[16]byte(value[1:17]), time.Duration(binary.BigEndian.Uint64(value[17:]))}
	return at, value[waitsHeader:], at.clock >= 0
}
