// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/atomicfile"
	"github.com/rehome-iot/rehome/internal/boottime"
)

// GetWaits returns what PutWaits stored, from whichever place has the latest. The
// age is known on Linux, where /proc can be read: it counts the time that the
// machine sleeps. A damaged or foreign file and one that is no regular file are a
// miss: waits are a courtesy, and a device goes on without.
func (d Dir) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	if ctx.Err() != nil {
		return nil, 0, context.Cause(ctx)
	}
	if d == "" {
		return nil, 0, d.fail("get waits", key, fs.ErrInvalid)
	}
	latest, err := latestWaits(d.waitPlaces(key))
	if err != nil {
		return nil, 0, d.fail("get waits", key, err)
	}
	if latest.path == "" {
		return nil, 0, ErrMiss
	}
	return latest.data, latest.age, nil
}

// PutWaits stores data in the runtime directory, /run/rehome, if the system has
// one that is a directory, no link, that belongs to this user or to root, that
// nobody else may write, and that this user may. A package or a systemd unit makes
// it; it lies in memory. The file's name there is a hash of the Dir's absolute
// path, as it is spelled, and of key. Elsewhere the file is beside the entry, and
// the kernel writes it to the medium when it likes. Neither is synced; only a
// directory that has to be made first is, once. Files are open to their owner only.
//
// A value over MaxSize is an error. Empty data removes both files.
func (d Dir) PutWaits(ctx context.Context, key string, data []byte) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d == "" {
		return d.fail("put waits", key, fs.ErrInvalid)
	}
	if len(data) > MaxSize {
		return d.fail("put waits", key, tooLarge(len(data)))
	}
	putWaitsLock.Lock()
	defer putWaitsLock.Unlock()
	// Before the file is written, however long that takes: the age is a lower bound
	// of the time since the caller decided.
	file := waitFile{boottime.Read(), data}.encode()
	places := d.waitPlaces(key)
	if len(data) == 0 {
		return d.removeWaits(key, places)
	}
	if inMemory := places.runtime; inMemory != "" {
		if atomicfile.WriteNoSync(inMemory, file, 0o600) == nil {
			// Of the two, only that one would outlive a restart. It is seldom there, and
			// looking for leftovers of what is not would touch the directory's times.
			if !isAbsent(places.beside) {
				_ = atomicfile.RemoveNoSync(places.beside)
			}
			return nil
		}
		// Full, or not for this user: the other place will do.
	}
	if err := d.write(atomicfile.WriteNoSync, places.beside, file); err != nil {
		return d.fail("put waits", key, err)
	}
	if places.runtime != "" {
		_ = atomicfile.RemoveNoSync(places.runtime)
	}
	return nil
}

// putWaitsLock keeps two calls that write to different places from removing each
// other's file.
var putWaitsLock sync.Mutex

// waitPlaces are the files where waits of one key may be.
type waitPlaces struct {
	runtime string // empty if there is no usable runtime directory
	beside  string
}

func (d Dir) waitPlaces(key string) waitPlaces {
	p := waitPlaces{beside: d.path(key) + waitsMark}
	dir, ok := usableRuntimeDir()
	if !ok {
		return p
	}
	// No path has a NUL, so that what is hashed can be taken apart in one way only.
	if absolute, err := filepath.Abs(string(d)); err == nil {
		sum := sha256.Sum256([]byte(absolute + "\x00" + key))
		p.runtime = filepath.Join(dir, hex.EncodeToString(sum[:]))
	}
	return p
}

type foundWaits struct {
	waitFile
	path string // empty if nothing was found
	age  time.Duration
}

// latestWaits looks at both places. The later of two in this run of the machine is
// taken, and either before one of which nobody can say when it was written.
func latestWaits(p waitPlaces) (foundWaits, error) {
	beside, err := readWaits(p.beside)
	var runtime foundWaits
	if p.runtime != "" {
		// Errors do not matter: what cannot be read there was not written there.
		runtime, _ = readWaits(p.runtime)
	}
	if beside.path == "" && runtime.path == "" {
		return beside, err // as at most boots, which need no clock then
	}
	// Only now: a file that was written since would seem to be of another run.
	now := boottime.Read()
	beside.age, runtime.age = beside.at.Since(now), runtime.at.Since(now)
	switch {
	case runtime.path == "":
		return beside, err
	case beside.path == "", beside.age < 0:
		return runtime, nil
	case runtime.age < 0, runtime.at.Clock < beside.at.Clock:
		return beside, nil
	}
	return runtime, nil
}

func readWaits(path string) (foundWaits, error) {
	file, err := read(path, waitHeader+MaxSize)
	if _, ok := errors.AsType[unfit](err); ok || errors.Is(err, fs.ErrNotExist) {
		return foundWaits{}, nil
	}
	if err != nil {
		return foundWaits{}, err
	}
	w, ok := decodeWaits(file)
	if !ok {
		return foundWaits{}, nil
	}
	return foundWaits{waitFile: w, path: path}, nil
}

// removeWaits removes the file that GetWaits returns last: a kill in between must
// not bring back what the other holds.
func (d Dir) removeWaits(key string, p waitPlaces) error {
	latest, _ := latestWaits(p)
	order := []string{p.beside, p.runtime}
	if latest.path == p.beside {
		order = []string{p.runtime, p.beside}
	}
	for _, path := range order {
		if path == "" {
			continue
		}
		err := atomicfile.RemoveNoSync(path)
		if err == nil || isAbsent(path) { // a read-only file system refuses what is absent too
			continue
		}
		if path == p.runtime {
			return &Error{Op: "put waits", Dir: string(d), Key: key, Err: err}
		}
		return d.fail("put waits", key, err)
	}
	return nil
}

func isAbsent(path string) bool {
	_, err := os.Lstat(path)
	return errors.Is(err, fs.ErrNotExist)
}
