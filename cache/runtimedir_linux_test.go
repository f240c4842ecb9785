// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
	"github.com/rehome-iot/rehome/internal/boottime"
)

// rig is a Dir and a runtime directory, on a machine that has been up for 100 s.
func rig(t *testing.T) (d Dir, runtime string) {
	t.Helper()
	runtime = filepath.Join(t.TempDir(), "rehome")
	require.NoError(t, os.Mkdir(runtime, 0o755))
	SetRuntimeDir(t, runtime)
	setBoot(t, someID, "100.00 1.00\n")
	return Dir(filepath.Join(t.TempDir(), "store")), runtime
}

func waits(t *testing.T, d Dir, key string) (string, time.Duration) {
	t.Helper()
	data, age, err := d.GetWaits(t.Context(), key)
	if errors.Is(err, ErrMiss) {
		assert.Empty(t, data)
		return "(none)", 0
	}
	require.NoError(t, err)
	return string(data), age
}

// holds checks what is stored, whatever its age.
func holds(t *testing.T, d Dir, key, want string) {
	t.Helper()
	got, _ := waits(t, d, key)
	assert.Equal(t, want, got)
}

func putWaits(t *testing.T, d Dir, key, data string) {
	t.Helper()
	require.NoError(t, d.PutWaits(t.Context(), key, []byte(data)))
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// plant puts a file of waits where d looks for it.
func plant(t *testing.T, path string, at boottime.Moment, data string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, waitFile{at, []byte(data)}.encode(), 0o600))
}

func TestRuntimeDirectoryHoldsTheWaitsAndTheStoreNone(t *testing.T) {
	d, runtime := rig(t)
	putWaits(t, d, "key", "until ten")
	holds(t, d, "key", "until ten")
	assert.NoDirExists(t, string(d))
	sum := sha256.Sum256([]byte(string(d) + "\x00key"))
	assert.Equal(t, []string{hex.EncodeToString(sum[:])}, files(t, runtime))

	require.NoError(t, d.Put(t.Context(), "key", []byte("value")))
	require.NoError(t, d.Delete(t.Context(), "key"))
	holds(t, d, "key", "until ten")
	putWaits(t, d, "key", "")
	holds(t, d, "key", "(none)")
	assert.Empty(t, files(t, runtime))
	assert.Empty(t, files(t, string(d)))
}

func TestFilesOfWaitsAreForTheOwnerOnlyWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0))
	d, runtime := rig(t)
	putWaits(t, d, "key", "until ten")
	SetRuntimeDir(t, "")
	putWaits(t, d, "key", "until ten")
	for _, dir := range []string{runtime, string(d)} {
		require.Len(t, files(t, dir), 1)
		info, err := os.Stat(filepath.Join(dir, files(t, dir)[0]))
		require.NoError(t, err)
		assert.Equal(t, fs.FileMode(0o600), info.Mode())
	}
}

func TestStoresAndKeysDoNotShareARuntimeDirectory(t *testing.T) {
	d, runtime := rig(t)
	other := Dir(filepath.Join(t.TempDir(), "store"))
	putWaits(t, d, "key", "first")
	putWaits(t, d, "key2", "second")
	putWaits(t, other, "key", "third")
	putWaits(t, d+"/key", "", "")
	holds(t, d, "key", "first")
	holds(t, d, "key2", "second")
	holds(t, other, "key", "third")
	assert.Len(t, files(t, runtime), 3)
}

func TestRelativePathMeansTheSameWaits(t *testing.T) {
	d, _ := rig(t)
	putWaits(t, d, "key", "until ten")
	t.Chdir(filepath.Dir(string(d)))
	holds(t, "store", "key", "until ten")
	holds(t, "./store/", "key", "until ten")
}

func TestRuntimeDirectoryThatOthersCouldWriteIsNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, runtime string){
		"absent": func(t *testing.T, runtime string) {
			require.NoError(t, os.Rename(runtime, runtime+"-away"))
		},
		"a link": func(t *testing.T, runtime string) {
			require.NoError(t, os.Rename(runtime, runtime+"-away"))
			require.NoError(t, os.Symlink(runtime+"-away", runtime))
		},
		"a file": func(t *testing.T, runtime string) {
			require.NoError(t, os.Rename(runtime, runtime+"-away"))
			require.NoError(t, os.WriteFile(runtime, nil, 0o600))
		},
		"writable to the group": func(t *testing.T, runtime string) {
			require.NoError(t, os.Chmod(runtime, 0o730))
		},
		"writable to others": func(t *testing.T, runtime string) {
			require.NoError(t, os.Chmod(runtime, 0o703))
		},
		"another user's": func(t *testing.T, runtime string) {
			if os.Getuid() != 0 {
				t.Skip("only root can give a directory away")
			}
			require.NoError(t, os.Chown(runtime, 12345, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			d, runtime := rig(t)
			putWaits(t, d, "key", "in a directory that is to be spoilt")
			kept := files(t, runtime)
			spoil(t, runtime)
			holds(t, d, "key", "(none)")
			putWaits(t, d, "key", "until ten")
			holds(t, d, "key", "until ten")
			assert.Equal(t, []string{"key=waits"}, files(t, string(d)))
			if info, err := os.Stat(runtime); err == nil && info.IsDir() {
				assert.Equal(t, kept, files(t, runtime))
			}
		})
	}
}

func TestAgeComesFromTheClockOfThisRunOfTheMachine(t *testing.T) {
	d, runtime := rig(t)
	for _, place := range []string{runtime, ""} {
		SetRuntimeDir(t, place)
		setBoot(t, someID, "100.00 1.00\n")
		putWaits(t, d, "key", "until ten")
		for _, test := range []struct {
			id, uptime string
			want       time.Duration
		}{
			{someID, "100.00 1.00\n", 0},
			{someID, "100.01 1.00\n", 0},
			{someID, "160.00 1.00\n", time.Minute - 10*time.Millisecond},
			{someID, "99.99 1.00\n", -1},
			{"ffffffff-0b21-43a3-b27c-c7c82ae10e99\n", "160.00 1.00\n", -1},
			{"", "160.00 1.00\n", -1},
			{someID, "", -1},
		} {
			setBoot(t, test.id, test.uptime)
			data, age := waits(t, d, "key")
			assert.Equal(t, "until ten", data, "%+v", test)
			assert.Equal(t, test.want, age, "%+v", test)
		}
	}
}

func TestLatestOfBothPlacesIsTaken(t *testing.T) {
	at := func(seconds time.Duration) boottime.Moment {
		return boottime.Moment{Boot: thisBoot, Clock: seconds * time.Second}
	}
	before := func(seconds time.Duration) boottime.Moment {
		return boottime.Moment{Boot: otherBoot, Clock: seconds * time.Second}
	}
	for name, test := range map[string]struct {
		runtime, beside boottime.Moment
		want            string
	}{
		"runtime is later":                  {at(20), at(10), "runtime"},
		"beside is later":                   {at(10), at(20), "beside"},
		"at once":                           {at(10), at(10), "runtime"},
		"beside is of another run":          {at(10), before(20), "runtime"},
		"runtime is of another run":         {before(20), at(10), "beside"},
		"both are of another run":           {before(10), before(20), "runtime"},
		"runtime is of a clock that fell":   {at(999), at(10), "beside"},
		"beside is of a clock that fell":    {at(10), at(999), "runtime"},
		"beside was written without clocks": {at(10), boottime.Moment{}, "runtime"},
	} {
		t.Run(name, func(t *testing.T) {
			d, _ := rig(t)
			setBoot(t, hex.EncodeToString(thisBoot[:]), "100.00 1.00\n")
			plant(t, d.waitPlaces("key").runtime, test.runtime, "runtime")
			plant(t, d.waitPlaces("key").beside, test.beside, "beside")
			holds(t, d, "key", test.want)

			order := &recorder{FS: atomicfile.OS}
			replaceWith[atomicfile.FS](t, &atomicfile.OS, order)
			putWaits(t, d, "key", "")
			holds(t, d, "key", "(none)")
			last := order.removed[len(order.removed)-1]
			isBeside := strings.HasSuffix(last, waitsMark)
			assert.Equal(t, test.want == "beside", isBeside, "removed last: %s", last)
		})
	}
}

// A reader whom a writer overtakes must not take that for a restart of the machine.
func TestAgeStaysKnownWhileWaitsAreReplaced(t *testing.T) {
	d, _ := rig(t)
	putWaits(t, d, "key", "first")
	boot := boottime.Read().Boot
	pipe := filepath.Join(t.TempDir(), "uptime")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	replaceWith(t, &boottime.UptimeFile, pipe)
	var all sync.WaitGroup
	all.Go(func() {
		data, age := waits(t, d, "key")
		assert.Equal(t, "first", data)
		assert.Equal(t, 50*time.Second-10*time.Millisecond, age)
	})
	uptime, err := os.OpenFile(pipe, os.O_WRONLY, 0) // blocks until the reader is there
	require.NoError(t, err)
	plant(t, d.waitPlaces("key").runtime, momentOf(boot, 160*time.Second), "second")
	_, err = uptime.WriteString("150.00 1.00\n")
	require.NoError(t, err)
	require.NoError(t, uptime.Close())
	all.Wait()
}

func TestDamagedFileInOnePlaceDoesNotHideTheOther(t *testing.T) {
	d, _ := rig(t)
	now := boottime.Read()
	p := d.waitPlaces("key")
	plant(t, p.runtime, now, "runtime")
	plant(t, p.beside, now, "beside")
	require.NoError(t, os.Truncate(p.runtime, 42))
	holds(t, d, "key", "beside")
	plant(t, p.runtime, now, "runtime")
	require.NoError(t, os.Truncate(p.beside, 42))
	holds(t, d, "key", "runtime")
	require.NoError(t, os.Truncate(p.runtime, 0))
	holds(t, d, "key", "(none)")
}

func TestOnlyOnePlaceIsLeftWithWaits(t *testing.T) {
	d, runtime := rig(t)
	SetRuntimeDir(t, "")
	putWaits(t, d, "key", "first")
	assert.Equal(t, []string{"key=waits"}, files(t, string(d)))
	SetRuntimeDir(t, runtime)
	holds(t, d, "key", "first")
	putWaits(t, d, "key", "second")
	assert.Empty(t, files(t, string(d)), "a restart would bring it back")
	holds(t, d, "key", "second")

	replaceWith[atomicfile.FS](t, &atomicfile.OS, &recorder{
		FS: atomicfile.OS, full: runtime, err: syscall.ENOSPC,
	})
	putWaits(t, d, "key", "third")
	holds(t, d, "key", "third")
	assert.Equal(t, []string{"key=waits"}, files(t, string(d)))
	assert.Empty(t, files(t, runtime))
}

func TestPlantedLinkInTheRuntimeDirectoryIsNeitherReadNorWrittenThrough(t *testing.T) {
	d, _ := rig(t)
	victim := filepath.Join(t.TempDir(), "victim")
	plant(t, victim, boottime.Read(), "planted")
	before, err := os.ReadFile(victim)
	require.NoError(t, err)
	require.NoError(t, os.Symlink(victim, d.waitPlaces("key").runtime))
	holds(t, d, "key", "(none)")
	putWaits(t, d, "key", "mine")
	holds(t, d, "key", "mine")
	after, err := os.ReadFile(victim)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestPlantedPipeInPlaceOfWaitsDoesNotBlock(t *testing.T) {
	d, _ := rig(t)
	p := d.waitPlaces("key")
	require.NoError(t, os.Mkdir(string(d), 0o700))
	require.NoError(t, syscall.Mkfifo(p.runtime, 0o600))
	require.NoError(t, syscall.Mkfifo(p.beside, 0o600))
	holds(t, d, "key", "(none)")
	putWaits(t, d, "key", "until ten")
	holds(t, d, "key", "until ten")
}
