// SPDX-License-Identifier: Apache-2.0

//go:build !windows

package atomicfile

import (
	"errors"
	"os"
	"syscall"
)

func rename(oldpath, newpath string) error { return os.Rename(oldpath, newpath) }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		err = nil // a file system that cannot sync a directory: nothing more can be done
	}
	if closed := d.Close(); err == nil {
		err = closed
	}
	return err
}
