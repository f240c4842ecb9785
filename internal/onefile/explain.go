// SPDX-License-Identifier: Apache-2.0

package onefile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// Explain says to the person who chose the file what is wrong with it, and what to do: one line, or
// "" if nothing better is known than err. It looks at the file only now that something has failed.
// What is what the file is, such as "store file".
func Explain(what, path string, err error) string {
	file, dir := what+" "+path, filepath.Dir(path)
	info, statErr := os.Stat(path)
	dirInfo, dirErr := os.Stat(dir)
	switch {
	case statErr == nil && info.IsDir():
		return file + " is a directory: name a file in it"
	case statErr == nil && !info.Mode().IsRegular():
		return file + " is not a regular file: remove it or name another file"
	case dirErr == nil && !dirInfo.IsDir(), errors.Is(err, syscall.ENOTDIR):
		return file + " cannot exist, part of its path is a file: name another file"
	case errors.Is(dirErr, fs.ErrNotExist):
		return fmt.Sprintf("%s cannot be made, %s does not exist: make or mount that first", file,
			missing(dir))
	case errors.Is(err, syscall.EROFS):
		return file + " is on a read-only file system: remount it writable or name another file"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Sprintf("%s has no room on its disk: free some space (%v)", file, bare(err))
	case errors.Is(err, fs.ErrPermission):
		return fmt.Sprintf("%s is not accessible%s: change the owner or permissions of it and of "+
			"its directory (%v)", file, byUser(), bare(err))
	}
	return ""
}

// IsSystem says that an error is the operating system's: of another one, when a database opens a
// file, the reason is what is in the file.
func IsSystem(err error) bool {
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return true
	}
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) ||
		errors.Is(err, fs.ErrExist)
}

// missing is the outermost directory of a path that does not exist, but for the innermost one,
// which would have been made.
func missing(dir string) string {
	for {
		parent := filepath.Dir(dir)
		if _, err := os.Stat(parent); err == nil || parent == dir {
			return dir
		}
		dir = parent
	}
}

func byUser() string {
	if uid := os.Getuid(); uid >= 0 { // -1 on Windows
		return " to user " + strconv.Itoa(uid)
	}
	return ""
}

// bare strips the paths that the message has already.
func bare(err error) error {
	if e, ok := errors.AsType[*atomicfile.Error](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	if e, ok := errors.AsType[*os.LinkError](err); ok {
		return e.Err
	}
	return err
}
