// SPDX-License-Identifier: Apache-2.0

package onefile_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/onefile"
)

// Somebody cuts a file short that is mapped: whoever reads behind its end gets SIGBUS.
func TestAFaultInAMappedFileIsDamage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	require.NoError(t, os.WriteFile(path, make([]byte, 1<<16), 0o600))
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer file.Close()
	mapped, err := syscall.Mmap(int(file.Fd()), 0, 1<<16, syscall.PROT_READ, syscall.MAP_SHARED)
	require.NoError(t, err)
	defer func() { require.NoError(t, syscall.Munmap(mapped)) }()
	require.NoError(t, file.Truncate(0))
	read := byte(0)
	damage, _ := onefile.Guard(func() error {
		read += mapped[1<<15]
		return nil
	})
	require.ErrorIs(t, damage, onefile.ErrDamaged)
	assert.Contains(t, damage.Error(), "a part of it is missing")
	assert.Zero(t, read)
}
