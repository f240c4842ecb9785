// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someID = "45bf0ffd-0b21-43a3-b27c-c7c82ae10e99\n"

func TestBootTimeIsReadFromWhatTheKernelShows(t *testing.T) {
	got := parseBootTime(someID, "700.57 1264.21\n")
	assert.Equal(t, 700*time.Second+570*time.Millisecond, got.clock)
	assert.Equal(t, "45bf0ffd0b2143a3b27cc7c82ae10e99", hex.EncodeToString(got.boot[:]))
	for _, text := range [][2]string{
		{"", "700.57 1264.21\n"},
		{"45bf0ffd-0b21-43a3-b27c\n", "700.57 1264.21\n"},
		{"45bf0ffd-0b21-43a3-b27c-c7c82ae10exx\n", "700.57 1264.21\n"},
		{someID, ""},
		{someID, "700.57"},
		{someID, " 1264.21\n"},
		{someID, "-1.00 1264.21\n"},
		{someID, "much 1264.21\n"},
		{someID, "99999999999999999999.00 1264.21\n"},
	} {
		assert.Zero(t, parseBootTime(text[0], text[1]), "%q", text)
	}
}

func TestBootTimeOfThisMachineGoesOn(t *testing.T) {
	first := readBootTime()
	if first == (bootTime{}) {
		t.Skip("/proc does not show it")
	}
	second := readBootTime()
	assert.Equal(t, first.boot, second.boot)
	assert.GreaterOrEqual(t, second.clock, first.clock)
}

func TestWithoutProcThereIsNoBootTime(t *testing.T) {
	setBoot(t, someID, "700.57 1264.21\n")
	require.NotZero(t, readBootTime())
	for _, variable := range []*string{&bootIDFile, &uptimeFile} {
		path := *variable
		*variable = filepath.Join(t.TempDir(), "absent")
		assert.Zero(t, readBootTime())
		*variable = path
	}
	require.NotZero(t, readBootTime())
}

// At most boots there is nothing to wait for: the files that tell the time would be opened for
// nobody.
func TestTheClockIsReadOnlyWhereThereAreWaits(t *testing.T) {
	setBoot(t, someID, "700.57 1264.21\n")
	dir := Dir(t.TempDir())
	pipe := filepath.Join(t.TempDir(), "boot_id")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	replaceWith(t, &bootIDFile, pipe) // who opens it waits for its writer
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
	replaceWith(t, &bootIDFile, filepath.Join(dir, "boot_id"))
	replaceWith(t, &uptimeFile, filepath.Join(dir, "uptime"))
	require.NoError(t, os.WriteFile(bootIDFile, []byte(id), 0o600))
	require.NoError(t, os.WriteFile(uptimeFile, []byte(uptime), 0o600))
}
