// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"os"
	"syscall"
)

// runtimeDir is where the system lets services keep what is to be forgotten with this run of the
// machine. Tests name another place.
var runtimeDir = "/run/rehome"

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
