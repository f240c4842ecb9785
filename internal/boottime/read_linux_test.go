// SPDX-License-Identifier: Apache-2.0

package boottime

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const someID = "45bf0ffd-0b21-43a3-b27c-c7c82ae10e99\n"

func TestBootTimeIsReadFromWhatTheKernelShows(t *testing.T) {
	got := parse(someID, "700.57 1264.21\n")
	assert.Equal(t, 700*time.Second+570*time.Millisecond, got.Clock)
	assert.Equal(t, "45bf0ffd0b2143a3b27cc7c82ae10e99", hex.EncodeToString(got.Boot[:]))
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
		assert.Zero(t, parse(text[0], text[1]), "%q", text)
	}
}

func TestBootTimeOfThisMachineGoesOn(t *testing.T) {
	first := Read()
	if first == (Moment{}) {
		t.Skip("/proc does not show it")
	}
	second := Read()
	assert.Equal(t, first.Boot, second.Boot)
	assert.GreaterOrEqual(t, second.Clock, first.Clock)
}

func TestWithoutProcThereIsNoBootTime(t *testing.T) {
	before := []string{BootIDFile, UptimeFile}
	t.Cleanup(func() { BootIDFile, UptimeFile = before[0], before[1] })
	dir := t.TempDir()
	BootIDFile, UptimeFile = filepath.Join(dir, "boot_id"), filepath.Join(dir, "uptime")
	require.NoError(t, os.WriteFile(BootIDFile, []byte(someID), 0o600))
	require.NoError(t, os.WriteFile(UptimeFile, []byte("700.57 1264.21\n"), 0o600))
	require.NotZero(t, Read())
	for _, variable := range []*string{&BootIDFile, &UptimeFile} {
		path := *variable
		*variable = filepath.Join(t.TempDir(), "absent")
		assert.Zero(t, Read())
		*variable = path
	}
	require.NotZero(t, Read())
}
