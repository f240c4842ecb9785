// SPDX-License-Identifier: Apache-2.0

package boottime

import (
	"encoding/hex"
	"os"
	"strings"
	"time"
)

// Where the kernel tells of this run of the machine. Tests name other places.
var (
	BootIDFile = "/proc/sys/kernel/random/boot_id"
	// UptimeFile shows CLOCK_BOOTTIME, which counts suspend and which nobody sets.
	UptimeFile = "/proc/uptime"
)

// Read returns now, or the zero value where /proc does not show it. Containers of one machine
// agree.
func Read() Moment {
	id, err := os.ReadFile(BootIDFile)
	if err != nil {
		return Moment{}
	}
	uptime, err := os.ReadFile(UptimeFile)
	if err != nil {
		return Moment{}
	}
	return parse(string(id), string(uptime))
}

func parse(id, uptime string) Moment {
	boot, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(id), "-", ""))
	if err != nil || len(boot) != 16 {
		return Moment{}
	}
	seconds, _, ok := strings.Cut(uptime, " ")
	clock, err := time.ParseDuration(seconds + "s")
	if !ok || err != nil || clock < 0 {
		return Moment{}
	}
	return Moment{[16]byte(boot), clock}
}
