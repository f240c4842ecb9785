// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"
)

// oneLine is an error of the package in one line with these words.
func oneLine(t *testing.T, err error, words ...string) *Error {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	require.True(t, ok, "%v", err)
	assert.NotContains(t, err.Error(), "\n")
	for _, w := range words {
		assert.Contains(t, err.Error(), w)
	}
	return e
}

func TestAMistakeIsToldByItsField(t *testing.T) {
	path := tempFile(t)
	for words, o := range map[string]Options{
		"Interval is -1s: use 0 for 1 s":        {Interval: -time.Second},
		"MaxBytes is -1: use 0 for 16 MiB":      {MaxBytes: -1},
		"MaxAlarmBytes is -1: use 0 for 1 MiB":  {MaxAlarmBytes: -1},
		"MaxAge is -1ns: use 0 for any age":     {MaxAge: -1},
		"InFlight is -1: use 0 for 32":          {InFlight: -1},
		"InFlight is 10001: use 0 for 32":       {InFlight: 10001},
		"Timeout is -1ns: use 0 for 1 s":        {Timeout: -1},
		"Full is 7: use DropOldest or DropNewe": {Full: 7},
	} {
		_, err := Open(path, o)
		oneLine(t, err, path, words)
	}
	_, err := Open("", Options{})
	oneLine(t, err, "the path is empty: name a file")
	assert.NoFileExists(t, path)

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	for path, words := range map[string]string{
		dir:                                     "is a directory: name a file in it",
		filepath.Join(dir, "file", "outbox.db"): "part of its path is a file: name another",
		filepath.Join(dir, "mnt", "usb", "outbox.db"): "does not exist: make or mount that first",
	} {
		_, err := Open(path, Options{})
		oneLine(t, err, path, words)
	}
	f := open(t, path, Options{})
	for _, name := range []string{"", strings.Repeat("x", 1025)} {
		_, err := f.Outbox(name)
		oneLine(t, err, "use 1 to 1024")
	}
	_, err = Open(path, Options{Timeout: time.Millisecond})
	oneLine(t, err, path, "is open in this one already: end that, or name another file")
}

func TestADirectoryThatCannotBeWrittenIsTold(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may write everywhere")
	}
	dir := t.TempDir()
	require.NoError(t, os.Chmod(dir, 0o500))
	_, err := Open(filepath.Join(dir, "outbox.db"), Options{})
	oneLine(t, err, "is not accessible to user", "change the owner or permissions")
}

func TestADamagedFileIsToldAndLeftAsItIs(t *testing.T) {
	whole := tempFile(t)
	f := open(t, whole, quickly)
	send(t, boxOf(t, f), 0, 1, 2)
	require.NoError(t, f.Close())
	content, err := os.ReadFile(whole)
	require.NoError(t, err)
	page := os.Getpagesize()
	clearFrom := func(from, to int) []byte {
		b := bytes.Clone(content)
		clear(b[from:to])
		return b
	}
	for name, bad := range map[string][]byte{
		"text":  []byte(strings.Repeat("not a database at all\n", 1000)),
		"short": content[:page+100], "three pages": content[:3*page],
		"metas": clearFrom(0, 2*page), "all but the metas": clearFrom(2*page, len(content)),
	} {
		t.Run(name, func(t *testing.T) {
			path := tempFile(t)
			require.NoError(t, os.WriteFile(path, bad, 0o600))
			f, err := Open(path, quickly)
			if err == nil {
				_, err = f.Outbox(device)
				_ = f.Close()
			}
			oneLine(t, err, path, "damaged", "move it away, with what is kept in it")
			assert.ErrorIs(t, err, ErrDamaged)
			after, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(bad, after), "it is left as it is")
		})
	}
}

func TestAFileOfAnotherKindOrOfANewerVersionIsTold(t *testing.T) {
	path := tempFile(t)
	change := func(change func(*bolt.Tx) error) {
		db, err := bolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(change))
		require.NoError(t, db.Close())
	}
	change(func(*bolt.Tx) error { return nil })
	_, err := Open(path, Options{})
	oneLine(t, err, path, "a database of another kind", "move it away")
	change(initialise)
	change(func(tx *bolt.Tx) error { return tx.Bucket(bucketSettings).Put(keyFormat, []byte{2}) })
	_, err = Open(path, Options{})
	oneLine(t, err, path, "made by a newer version")
}

// A record that is not as it was written is dropped, and those behind it are delivered.
func TestADamagedRecordIsDropped(t *testing.T) {
	path := tempFile(t)
	f := open(t, path, quickly)
	box := boxOf(t, f)
	send(t, box, 0, 1, 2)
	require.NoError(t, f.Close())
	db, err := bolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketMessages)
		key := keyOf(1, telemetry, 2)
		record := bytes.Clone(b.Get(key))
		record[len(record)-1] ^= 1
		return b.Put(key, record)
	}))
	require.NoError(t, db.Close())
	box = boxOf(t, open(t, path, quickly))
	d := &delivery{box: box}
	var got []string
	for {
		m, ok, err := d.take(telemetry)
		require.NoError(t, err)
		if !ok {
			break
		}
		got = append(got, string(m.Body))
	}
	assert.Equal(t, []string{"0", "2"}, got)
	assert.EqualValues(t, 1, box.Stats().DroppedDamaged)
}
