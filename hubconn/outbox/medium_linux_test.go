// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

const inNamespace = "OUTBOX_TEST_NAMESPACE"

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

func TestAFullDiskFailsASendAndLosesNothing(t *testing.T) {
	dir, ok := mounted(t, "256k")
	if !ok {
		return
	}
	var log bytes.Buffer
	o := quickly
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f := open(t, filepath.Join(dir, "outbox.db"), o)
	box := boxOf(t, f)
	kept := 0
	body := func(n int) hubconn.Message {
		m := numbered(n)
		m.Body = append(m.Body, strings.Repeat(" canary-body", 100)...)
		return m
	}
	var failed error
	for ; failed == nil; kept++ {
		require.Less(t, kept, 1000)
		failed = box.Send(t.Context(), body(kept))
	}
	kept--
	e := oneLine(t, failed, f.path, "has no room on its disk: free some space")
	assert.ErrorIs(t, e, syscall.ENOSPC)
	assert.Equal(t, "send", e.Op)
	require.Error(t, box.Send(t.Context(), body(kept)), "once more")
	check := func(box *Outbox, n int) {
		t.Helper()
		bodies := contents(t, box, telemetry)
		require.Len(t, bodies, n)
		for i, got := range bodies {
			assert.Equal(t, string(body(i).Body), got)
		}
		assert.Equal(t, n, box.Stats().Kept)
	}
	check(box, kept)
	assert.NotZero(t, f.Stats().Failed)
	assert.Error(t, f.Stats().Err)

	require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT, "size=4m"))
	require.NoError(t, box.Send(t.Context(), body(kept)))
	check(box, kept+1)
	assert.NoError(t, f.Stats().Err)
	require.NoError(t, f.Close())
	check(boxOf(t, open(t, f.path, o)), kept+1)
	assert.Equal(t, 1, strings.Count(log.String(), "outbox not written"), "not each time")
	assert.Equal(t, 1, strings.Count(log.String(), "outbox written again"))
	assert.NotContains(t, log.String(), "canary")
}

func TestAReadOnlyFileSystemIsTold(t *testing.T) {
	dir, ok := mounted(t, "1m")
	if !ok {
		return
	}
	path := filepath.Join(dir, "outbox.db")
	f := open(t, path, quickly)
	send(t, boxOf(t, f), 0)
	require.NoError(t, f.Close())
	remount := func(flags uintptr) {
		require.NoError(t, syscall.Mount("", dir, "", syscall.MS_REMOUNT|flags, ""))
	}
	remount(syscall.MS_RDONLY)
	_, err := Open(path, quickly)
	oneLine(t, err, path, "is on a read-only file system: remount it writable or name another")
	_, err = Open(filepath.Join(dir, "new.db"), quickly)
	oneLine(t, err, "new.db is on a read-only file system")
	remount(0)
	assert.Equal(t, []string{"0"}, contents(t, boxOf(t, open(t, path, quickly)), telemetry))
}
