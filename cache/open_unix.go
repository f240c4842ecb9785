// SPDX-License-Identifier: Apache-2.0

//go:build unix

package cache

import (
	"os"
	"syscall"
)

// openEntry neither follows a symbolic link nor waits for the writer of a named
// pipe, whichever may have been planted.
func openEntry(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}
