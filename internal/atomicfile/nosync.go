// SPDX-License-Identifier: Apache-2.0

package atomicfile

import (
	"errors"
	"io/fs"
)

// WriteNoSync is [Write] without its two fsyncs, for what is worth nothing once
// the machine has restarted: it costs a medium that wears no flush. A process that
// is killed at any moment leaves the old content or the new. A power cut may leave
// either, a file of the right length that is empty or torn, or none: data has to
// carry a checksum. After an error the old content is intact.
func WriteNoSync(path string, data []byte, perm fs.FileMode) error {
	return WriteNoSyncFS(OS, path, data, perm)
}

// WriteNoSyncFS is [WriteNoSync] on another file system.
func WriteNoSyncFS(fsys FS, path string, data []byte, perm fs.FileMode) error {
	return replace(fsys, path, data, perm, noSync)
}

// RemoveNoSync is [Remove] without its fsync: after a power cut the file may be
// back.
func RemoveNoSync(path string) error { return RemoveNoSyncFS(OS, path) }

// RemoveNoSyncFS is [RemoveNoSync] on another file system.
func RemoveNoSyncFS(fsys FS, path string) error {
	clearLeftovers(fsys, path)
	if err := fsys.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return failed("remove", path, err)
	}
	return nil
}
