// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"errors"
	"io/fs"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// These conditions are hard to bring about in a test that runs anywhere, and for
// the superuser some do not exist; the write's own tests bring them about.
func TestConditionsOfTheMediumAreExplained(t *testing.T) {
	dir := t.TempDir()
	tests := map[string]struct {
		err  error
		want string
	}{
		"read-only": {syscall.EROFS, "store directory " + dir + " is on a read-only file system: remount it writable or name another directory"},
		"full":      {syscall.ENOSPC, "store directory " + dir + " is full: free some space (" + syscall.ENOSPC.Error() + ")"},
		"quota":     {syscall.EDQUOT, "store directory " + dir + " is full: free some space (" + syscall.EDQUOT.Error() + ")"},
		"broken":    {syscall.EIO, "store directory " + dir + `: put "key": ` + filepath.Join(dir, "key") + ": sync: " + syscall.EIO.Error()},
		"forbidden": {syscall.EACCES, "store directory " + dir + " is not accessible" + byUser() + `: change its owner or permissions (put "key": ` + syscall.EACCES.Error() + ")"},
	}
	for name, test := range tests {
		err := Dir(dir).fail("put", "key", &atomicfile.Error{
			Op: "sync", Path: filepath.Join(dir, "key"), Err: test.err,
		})
		assert.EqualError(t, err, test.want, name)
		assert.ErrorIs(t, err, test.err, name)
	}
	err := Dir(dir).fail("get", "key", &fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES})
	assert.ErrorIs(t, err, fs.ErrPermission)
	assert.ErrorContains(t, err, `(get "key": `+syscall.EACCES.Error()+")")
}

func TestErrorOfMemoryNamesTheKey(t *testing.T) {
	err := &Error{Op: "put", Key: "key", Err: errors.New("no")}
	assert.EqualError(t, err, `store: put "key": no`)
}
