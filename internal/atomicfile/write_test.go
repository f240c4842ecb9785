// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

func TestLeftoversOfKilledProcessesAreCleared(t *testing.T) {
	path := place(t)
	dir := filepath.Dir(path)
	plant := func(names ...string) {
		for _, name := range names {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
		}
	}
	others := []string{
		".entry.tmp",                  // no number
		".entry.tmp0123456789abcde",   // too short
		".entry.tmp0123456789abcdeg",  // not hexadecimal
		".entry2.tmp0123456789abcdef", // of another file
		".tmp0123456789abcdef",
		"entry.tmp0123456789abcdef",
	}
	plant(others...)
	plant(".entry.tmp0123456789abcdef", ".entry.tmpffffffffffffffff")
	require.NoError(t, atomicfile.Write(path, []byte(newer), 0o600))
	assert.ElementsMatch(t, append(others, "entry"), filesBeside(t, path))

	plant(".entry.tmp0123456789abcdef")
	require.NoError(t, atomicfile.Remove(path))
	assert.ElementsMatch(t, others, filesBeside(t, path))
}

func TestPermissionsAreThoseAsked(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no permission bits")
	}
	path := filepath.Join(t.TempDir(), "entry")
	require.NoError(t, os.WriteFile(path, []byte(old), 0o666))
	require.NoError(t, os.Chmod(path, 0o666))
	require.NoError(t, atomicfile.Write(path, []byte(newer), 0o600))
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode())
}

func TestLinkIsReplacedAndItsTargetUntouched(t *testing.T) {
	for name, link := range map[string]func(oldname, newname string) error{
		"symbolic": os.Symlink, "hard": os.Link,
	} {
		victim := filepath.Join(t.TempDir(), "victim")
		require.NoError(t, os.WriteFile(victim, []byte(old), 0o600))
		path := filepath.Join(t.TempDir(), "entry")
		if err := link(victim, path); err != nil {
			t.Skip(err)
		}
		require.NoError(t, atomicfile.Write(path, []byte(newer), 0o600), name)
		assert.Equal(t, old, contentOf(t, victim), name)
		assert.Equal(t, newer, contentOf(t, path), name)
		info, err := os.Lstat(path)
		require.NoError(t, err)
		assert.True(t, info.Mode().IsRegular(), name)
	}
}

func TestCreateRefusesWhatIsThere(t *testing.T) {
	dir := t.TempDir()
	dangling := filepath.Join(dir, "dangling")
	if err := os.Symlink(filepath.Join(dir, "made-through-the-link"), dangling); err != nil {
		t.Skip(err)
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), []byte(old), 0o600))
	for _, name := range []string{"dangling", "file"} {
		_, err := atomicfile.OS.Create(filepath.Join(dir, name), 0o600)
		assert.ErrorIs(t, err, fs.ErrExist, name)
	}
	assert.NoFileExists(t, filepath.Join(dir, "made-through-the-link"))
}

func TestRelativePath(t *testing.T) {
	t.Chdir(t.TempDir())
	require.NoError(t, atomicfile.Write("entry", []byte(newer), 0o600))
	assert.Equal(t, newer, contentOf(t, "entry"))
	require.NoError(t, atomicfile.Write("entry", nil, 0o600))
	assert.Empty(t, contentOf(t, "entry"))
	require.NoError(t, atomicfile.Remove("entry"))
	assert.NoFileExists(t, "entry")
}

func TestRemoveOfWhatIsNotThereIsNil(t *testing.T) {
	dir := t.TempDir()
	assert.NoError(t, atomicfile.Remove(filepath.Join(dir, "absent")))
	assert.NoError(t, atomicfile.Remove(filepath.Join(dir, "absent", "absent")))
}

func TestDirectoryInPlaceOfTheFileIsAnErrorAndStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "entry")
	require.NoError(t, os.MkdirAll(filepath.Join(path, "full"), 0o700))
	assert.ErrorContains(t, atomicfile.Write(path, []byte(newer), 0o600), path+": rename: ")
	assert.Error(t, atomicfile.Remove(path))
	assert.DirExists(t, filepath.Join(path, "full"))
	assert.Equal(t, []string{"entry"}, filesBeside(t, path))
}

func TestMkdir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "made")
	require.NoError(t, atomicfile.Mkdir(path, 0o700))
	require.NoError(t, atomicfile.Mkdir(path, 0o755), "one that exists")
	info, err := os.Stat(path)
	require.NoError(t, err)
	if runtime.GOOS != "windows" {
		assert.Equal(t, fs.FileMode(0o700), info.Mode().Perm(), "is left alone")
	}
	assert.ErrorIs(t, atomicfile.Mkdir(filepath.Join(path, "no", "parent"), 0o700), fs.ErrNotExist)
}
