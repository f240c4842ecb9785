// SPDX-License-Identifier: Apache-2.0

package onefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// Create makes the file if it is absent. It calls initialise with the path of a temporary, empty
// file beside it, to which that writes, and which it syncs and closes. So a power cut leaves no
// file or a whole one, which is on the medium when Create has returned. A file that somebody else
// makes meanwhile is left alone: the caller opens whichever there is.
//
// The directory is made, too, open to its owner only; its parent must exist, lest a disk that is
// not mounted be papered over. A process that is killed in the middle leaves its temporary file,
// ".NAME.new" and some digits.
func Create(path string, initialise func(temporary string) error) error {
	_, err := os.Lstat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir := filepath.Dir(path)
	temporary, err := createTemporary(dir, filepath.Base(path))
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := initialise(temporary); err != nil {
		return err
	}
	// A link, unlike a rename, does not replace what another process has made and begun to use.
	err = os.Link(temporary, path)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil: // no links on this file system
		if err := os.Rename(temporary, path); err != nil {
			return err
		}
	}
	return atomicfile.OS.SyncDir(dir)
}

func createTemporary(dir, name string) (path string, err error) {
	create := func() (*os.File, error) { return os.CreateTemp(dir, "."+name+".new*") } // 0600
	f, err := create()
	if errors.Is(err, fs.ErrNotExist) {
		if err = atomicfile.Mkdir(dir, 0o700); err == nil {
			f, err = create()
		}
	}
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}
