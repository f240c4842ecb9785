// SPDX-License-Identifier: Apache-2.0

package boltstore_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/boltstore"
)

// oneLine is an error of the package that names the file and says what to do.
func oneLine(t *testing.T, err error, words ...string) *boltstore.Error {
	t.Helper()
	e, ok := errors.AsType[*boltstore.Error](err)
	require.True(t, ok, "%v", err)
	assert.NotContains(t, err.Error(), "\n")
	for _, w := range words {
		assert.Contains(t, err.Error(), w)
	}
	return e
}

func TestAStoreThatCannotBeOneIsToldByItsField(t *testing.T) {
	oneLine(t, (&boltstore.Store{}).Validate(), "Path is empty: name a file")
	oneLine(t, (&boltstore.Store{}).Open(), "Path is empty: name a file")
	_, err := (&boltstore.Store{}).Get(t.Context(), "key")
	oneLine(t, err, "Path is empty: name a file")
	oneLine(
		t, (&boltstore.Store{Path: "store.db", Timeout: -time.Second}).Validate(), "store.db",
		"Timeout is -1s: it must not be negative",
	)
	assert.NoFileExists(t, "store.db")
}

func TestWhatIsWrongWithThePathIsTold(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for path, words := range map[string]string{
		dir:                                    "is a directory: name a file in it",
		filepath.Join(dir, "file", "store.db"): "part of its path is a file: name another",
		filepath.Join(dir, "mnt", "usb", "store.db"): "does not exist: make or mount that first",
	} {
		s := &boltstore.Store{Path: path}
		oneLine(t, s.Open(), path, words)
		oneLine(t, s.Put(t.Context(), "key", nil), path, words)
	}
}

func TestAnotherProcessHasTheFile(t *testing.T) {
	const child = "BOLTSTORE_TEST_SECOND"
	if file := os.Getenv(child); file != "" {
		s := &boltstore.Store{Path: file, Timeout: 100 * time.Millisecond}
		oneLine(t, s.Open(), file, "is in use by another process", "end that, or name another")
		begin := time.Now()
		for range 1000 { // devices, each of which would wait for the lock
			_, err := s.Get(t.Context(), "key")
			oneLine(t, err, "is in use by another process")
		}
		assert.Less(t, time.Since(begin), 20*time.Second)
		return
	}
	file := path(t)
	s := open(t, file)
	put(t, s, "key", "value")
	command := exec.Command(os.Args[0], "-test.run=^TestAnotherProcessHasTheFile$")
	command.Env = append(os.Environ(), child+"="+file)
	out, err := command.CombinedOutput()
	require.NoError(t, err, "%s", out)
	holds(t, s, "key", "value")

	second := &boltstore.Store{Path: file, Timeout: time.Millisecond}
	oneLine(t, second.Open(), "by another Store of this one")
	require.NoError(t, s.Close())
	require.NoError(t, second.Open(), "it is tried again")
	holds(t, second, "key", "value")
	require.NoError(t, second.Close())
}

func TestADamagedFileIsToldAndLeftAsItIs(t *testing.T) {
	whole := path(t)
	s := &boltstore.Store{Path: whole}
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, key, strings.Repeat(key, 3000))
	}
	require.NoError(t, s.Close())
	content, err := os.ReadFile(whole)
	require.NoError(t, err)
	page := os.Getpagesize()
	damaged := func(change func([]byte) []byte) []byte { return change(bytes.Clone(content)) }
	for name, bad := range map[string][]byte{
		"text":  []byte(strings.Repeat("not a database at all\n", 1000)),
		"zeros": make([]byte, len(content)),
		"short": content[:page+100],
		"half":  content[:len(content)/2/page*page],
		"both metas": damaged(func(b []byte) []byte {
			clear(b[:2*page])
			return b
		}),
		"all but the metas": damaged(func(b []byte) []byte {
			clear(b[2*page:])
			return b
		}),
		"all but the metas, by ones": damaged(func(b []byte) []byte {
			for i := 2 * page; i < len(b); i++ {
				b[i] = 0xff
			}
			return b
		}),
	} {
		t.Run(name, func(t *testing.T) {
			file := path(t)
			require.NoError(t, os.WriteFile(file, bad, 0o600))
			s := &boltstore.Store{Path: file}
			failed := s.Open()
			if failed == nil { // it shows when it is read
				_, failed = s.Get(t.Context(), "a")
			}
			e := oneLine(t, failed, file, "damaged", "move it away and start again")
			assert.ErrorIs(t, e, boltstore.ErrDamaged)
			assert.False(t, errors.Is(failed, cache.ErrMiss))
			assert.Error(t, s.Put(t.Context(), "a", []byte("new")))
			require.NoError(t, s.Close())
			after, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(bad, after), "it is left as it is")
			// The fix that the line names.
			require.NoError(t, os.Rename(file, file+".damaged"))
			put(t, open(t, file), "a", "new")
		})
	}
}

// A bit that has fallen over in a value is an error, which leads to a question to DPS, and never
// another value.
func TestADamagedValueIsAnErrorAndTheOthersAreThere(t *testing.T) {
	file := path(t)
	s := &boltstore.Store{Path: file}
	put(t, s, "a", "assigned to hub-a")
	put(t, s, "b", "assigned to hub-b")
	require.NoError(t, s.Close())
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	changed := bytes.ReplaceAll(content, []byte("to hub-a"), []byte("to hub-x"))
	require.NotEqual(t, content, changed)
	require.NoError(t, os.WriteFile(file, changed, 0o600))

	s = open(t, file)
	_, err = s.Get(t.Context(), "a")
	e := oneLine(t, err, file, `get "a": damaged`)
	assert.ErrorIs(t, e, boltstore.ErrDamaged)
	holds(t, s, "b", "assigned to hub-b")
	put(t, s, "a", "assigned to hub-c")
	holds(t, s, "a", "assigned to hub-c")
}
