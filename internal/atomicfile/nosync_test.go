// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"errors"
	"io"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

func writeNoSync(value string) step {
	return step{value, func(fsys atomicfile.FS) error {
		return atomicfile.WriteNoSyncFS(fsys, target, []byte(value), 0o600)
	}}
}

func removalNoSync() step {
	return step{absent, func(fsys atomicfile.FS) error {
		return atomicfile.RemoveNoSyncFS(fsys, target)
	}}
}

func TestKillDuringWriteNoSyncLeavesOldOrNew(t *testing.T) {
	for _, s := range []step{writeNoSync(newer), removalNoSync()} {
		for k := 0; ; k++ {
			m := newModel(store)
			require.NoError(t, writeNoSync(old).run(m))
			killed := kill(m, k, s)
			assert.Contains(
				t, []string{old, s.value}, read(m.now()), "killed at operation %d", k,
			)
			require.NoError(t, writeNoSync(newest).run(m))
			assert.Equal(t, newest, read(m.now()))
			assert.Empty(t, m.now().leftovers(), "killed at operation %d", k)
			if !killed {
				break
			}
		}
	}
}

// This is why the content needs a checksum of its own.
func TestPowerCutMayTearWhatWriteNoSyncWrote(t *testing.T) {
	found := enumerate(t, newModel(store), honest, writeNoSync(old), writeNoSync(newer))
	assert.NotZero(t, found.corrupt)
	assert.NotZero(t, found.notDurable)
}

func TestWriteIsDurableAfterAWriteNoSyncToo(t *testing.T) {
	m := newModel(store)
	require.NoError(t, writeNoSync(old).run(m))
	found := enumerate(t, m, honest, write(newer))
	assert.Zero(t, found.notDurable, found.exampleOfTheFirstBad)
	assert.Zero(t, found.corrupt, found.exampleOfTheFirstBad)
}

func TestWithoutSyncNothingIsFlushed(t *testing.T) {
	f := &faulty{FS: atomicfile.OS, fault: func(int, string) error { return nil }}
	path := place(t)
	require.NoError(t, atomicfile.WriteNoSyncFS(f, path, []byte(newer), 0o600))
	assert.Equal(t, []string{"list", "create", "write", "close", "rename"}, f.calls)
	assert.Equal(t, newer, contentOf(t, path))
	f.calls = nil
	require.NoError(t, atomicfile.RemoveNoSyncFS(f, path))
	assert.Equal(t, []string{"list", "remove"}, f.calls)
	assert.Empty(t, filesBeside(t, path))
	require.NoError(t, atomicfile.RemoveNoSyncFS(f, path), "one that is absent")
	absent := filepath.Join(filepath.Dir(path), "absent", "absent")
	require.NoError(t, atomicfile.RemoveNoSync(absent), "in an absent directory")
}

func TestErrorAtAnyOperationOfWriteNoSyncKeepsTheOldFile(t *testing.T) {
	for k, op := range []string{"list", "create", "write", "close", "rename"} {
		for _, fault := range []error{syscall.ENOSPC, errShort} {
			path := place(t)
			f := &faulty{FS: atomicfile.OS, fault: func(call int, at string) error {
				if call == k && (fault != errShort || at == "write") {
					return fault
				}
				return nil
			}}
			err := atomicfile.WriteNoSyncFS(f, path, []byte(newer), 0o600)
			require.Equal(t, op, f.calls[k])
			assert.Equal(t, []string{"entry"}, filesBeside(t, path), op)
			if op == "list" || fault == errShort && op != "write" {
				require.NoError(t, err, op)
				assert.Equal(t, newer, contentOf(t, path), op)
				continue
			}
			typed, ok := errors.AsType[*atomicfile.Error](err)
			require.True(t, ok, "%s: %v", op, err)
			assert.Equal(t, op, typed.Op)
			assert.Equal(t, path, typed.Path)
			if fault == errShort {
				fault = io.ErrShortWrite
			}
			assert.ErrorIs(t, err, fault, op)
			assert.Equal(t, old, contentOf(t, path), op)
		}
	}
}
