// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/hex"
	"os"
	"strings"
	"syscall"
	"time"
)

// Where the kernel tells of this run of the machine, and where the system lets
// services keep what is to be forgotten with it. Tests name other places.
var (
	bootIDFile = "/proc/sys/kernel/random/boot_id"
	// uptimeFile shows CLOCK_BOOTTIME, which counts suspend and which nobody sets.
	uptimeFile = "/proc/uptime"
	runtimeDir = "/run/rehome"
)

// readBootTime returns the zero value where /proc does not show it.
func readBootTime() bootTime {
	id, err := os.ReadFile(bootIDFile)
	if err != nil {
		return bootTime{}
	}
	uptime, err := os.ReadFile(uptimeFile)
	if err != nil {
		return bootTime{}
	}
	return parseBootTime(string(id), string(uptime))
}

func parseBootTime(id, uptime string) bootTime {
	boot, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(id), "-", ""))
	if err != nil || len(boot) != 16 {
		return bootTime{}
	}
	seconds, _, ok := strings.Cut(uptime, " ")
	clock, err := time.ParseDuration(seconds + "s")
	if !ok || err != nil || clock < 0 {
		return bootTime{}
	}
	return bootTime{[16]byte(boot), clock}
}

// usableRuntimeDir trusts the directory only if nobody but this user and root can
// have put anything there. Its parent is root's.
func usableRuntimeDir() (path string, ok bool) {
	info, err := os.Lstat(runtimeDir)
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 {
		return "", false
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || stat.Uid != 0 && int64(stat.Uid) != int64(os.Geteuid()) {
		return "", false
	}
	return runtimeDir, true
}
