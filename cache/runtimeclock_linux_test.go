// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/boottime"
)

const someID = "45bf0ffd-0b21-43a3-b27c-c7c82ae10e99\n"

// At most boots there is nothing to wait for: the files that tell the time would be opened for
// nobody.
func TestTheClockIsReadOnlyWhereThereAreWaits(t *testing.T) {
	setBoot(t, someID, "700.57 1264.21\n")
	dir := Dir(t.TempDir())
	pipe := filepath.Join(t.TempDir(), "boot_id")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	replaceWith(t, &boottime.BootIDFile, pipe) // who opens it waits for its writer
	read := make(chan error, 1)
	go func() {
		_, _, err := dir.GetWaits(t.Context(), "key")
		read <- err
	}()
	select {
	case err := <-read:
		require.ErrorIs(t, err, ErrMiss)
	case <-time.After(10 * time.Second):
		require.NoError(t, os.WriteFile(pipe, []byte(someID), 0))
		<-read
		require.Fail(t, "the clock was read")
	}
}

// setBoot makes the kernel show this.
func setBoot(t *testing.T, id, uptime string) {
	t.Helper()
	dir := t.TempDir()
	replaceWith(t, &boottime.BootIDFile, filepath.Join(dir, "boot_id"))
	replaceWith(t, &boottime.UptimeFile, filepath.Join(dir, "uptime"))
	require.NoError(t, os.WriteFile(boottime.BootIDFile, []byte(id), 0o600))
	require.NoError(t, os.WriteFile(boottime.UptimeFile, []byte(uptime), 0o600))
}
