// SPDX-License-Identifier: Apache-2.0

//go:build unix && !solaris && !aix

package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// A dirLock keeps a second server away from the files of the first: the server itself does not.
type dirLock struct{ file *os.File }

func lockDir(dir string) (*dirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(filepath.Join(dir, "rehome.lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		return &dirLock{file}, nil
	}
	_ = file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, fmt.Errorf("directory %s is in use by another server: give each its own", dir)
	}
	return nil, fmt.Errorf("directory %s cannot be locked: %w", dir, err)
}

// unlock lets the next one in; the file stays.
func (l *dirLock) unlock() { _ = l.file.Close() }
