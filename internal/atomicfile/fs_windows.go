// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"os"
	"syscall"
	"time"
)

const errorSharingViolation syscall.Errno = 32

// rename retries for a moment: Windows refuses to replace a file that another
// process (an indexer, a virus scanner, a reader) has open.
func rename(oldpath, newpath string) error {
	for wait := time.Millisecond; ; wait *= 2 {
		err := os.Rename(oldpath, newpath)
		busy := errors.Is(err, errorSharingViolation) || errors.Is(err, syscall.ERROR_ACCESS_DENIED)
		if !busy || wait > 500*time.Millisecond {
			return err
		}
		time.Sleep(wait)
	}
}

// syncDir does nothing: Windows has no fsync of a directory, NTFS journals it.
func syncDir(string) error { return nil }
