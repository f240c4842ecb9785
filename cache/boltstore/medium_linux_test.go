// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache/boltstore"
)

const inNamespace = "BOLTSTORE_TEST_NAMESPACE"

// mounted runs the rest of a test in a process that may mount file systems, and returns a small one
// there; the caller returns where it is not ok.
func mounted(t *testing.T, size string) (dir string, ok bool) {
	t.Helper()
	if os.Getenv(inNamespace) == t.Name() {
		dir = t.TempDir()
		require.NoError(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size))
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		return dir, true
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	command.Env = append(os.Environ(), inNamespace+"="+t.Name())
	command.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := command.CombinedOutput()
	if _, ran := err.(*exec.ExitError); err != nil && !ran { //nolint:errorlint // as Run returns it
		t.Skipf("no namespace to mount in: %v", err)
	}
	require.NoError(t, err, "%s", out)
	return "", false
}

func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""))
}

func TestAReadOnlyFileSystemIsReadAndToldOf(t *testing.T) {
	dir, ok := mounted(t, "1m")
	if !ok {
		return
	}
	file := filepath.Join(dir, "store.db")
	s := &boltstore.Store{Path: file}
	put(t, s, "sensor", "hub-a")
	require.NoError(t, s.Close())
	remount(t, dir, syscall.MS_RDONLY)

	s = &boltstore.Store{Path: file}
	require.NoError(t, s.Open())
	holds(t, s, "sensor", "hub-a")
	for range 2 {
		e := oneLine(t, s.Put(t.Context(), "sensor", []byte("hub-b")), file,
			"is on a read-only file system: remount it writable")
		assert.Equal(t, "put", e.Op)
		assert.ErrorIs(t, e, syscall.EROFS)
		holds(t, s, "sensor", "hub-a")
	}
	remount(t, dir, 0)
	require.NoError(t, s.Open(), "it is tried again")
	put(t, s, "sensor", "hub-b")
	holds(t, s, "sensor", "hub-b")
	require.NoError(t, s.Close())
}

func TestAFullDiskLosesNothingAndIsToldOf(t *testing.T) {
	dir, ok := mounted(t, "256k")
	if !ok {
		return
	}
	file := filepath.Join(dir, "store.db")
	s := open(t, file)
	value := make([]byte, 3000)
	stored := 0
	var failed error
	for ; failed == nil; stored++ {
		require.Less(t, stored, 1000)
		failed = s.Put(t.Context(), fmt.Sprint(stored), value)
	}
	stored--
	e := oneLine(t, failed, file, "has no room on its disk: free some space")
	assert.ErrorIs(t, e, syscall.ENOSPC)
	require.Greater(t, stored, 10)
	check := func() {
		for i := range stored {
			holds(t, s, fmt.Sprint(i), string(value))
		}
	}
	check()
	require.NoError(t, s.Close())
	s = open(t, file)
	check()
	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=4m"))
	put(t, s, "more", string(value))
	check()
}
