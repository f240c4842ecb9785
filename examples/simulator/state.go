// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// keepEvery is how much of the state an end without warning can cost at most, as long as the state
// is small.
const keepEvery = 2 * time.Second

// keeper keeps the state file up to date while the simulator runs, and brings it up to date at the
// end.
type keeper struct {
	file string
	dps  *dpstest.Server
	log  *slog.Logger
	done chan struct{}
	task sync.WaitGroup
	last [sha256.Size]byte // the digest of what is in the file
}

// restore puts the state of the file, if there is one, in the place of the configuration's
// enrollments.
func restore(dps *dpstest.Server, file string) (bool, error) {
	if file == "" {
		return false, nil
	}
	data, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if err := dps.Load(bytes.NewReader(data)); err != nil {
		return false, fmt.Errorf(
			"%s: is not a state of this simulator (%s): remove it to start anew", file,
			strings.TrimPrefix(err.Error(), "dpstest: load: "),
		)
	}
	return true, nil
}

// keep writes the state for the first time, so that a file that cannot be written is found at once,
// and from then on whenever it has changed.
func keep(dps *dpstest.Server, file string, log *slog.Logger) (*keeper, error) {
	left, err := filepath.Glob(escapeGlob(file) + unfinished)
	if err != nil {
		return nil, err
	}
	for _, f := range left { // of a process that was killed as it wrote
		if err := os.Remove(f); err != nil {
			return nil, err
		}
	}
	k := &keeper{file: file, dps: dps, log: log, done: make(chan struct{})}
	if err := k.save(); err != nil {
		return nil, err
	}
	k.task.Go(k.run)
	return k, nil
}

func (k *keeper) run() {
	pause := keepEvery
	for {
		select {
		case <-k.done:
			return
		case <-time.After(pause):
		}
		begun := time.Now()
		if err := k.save(); err != nil {
			k.log.Warn("state is not kept", "error", err)
		}
		// a large state takes no more than a twentieth of a processor
		pause = max(keepEvery, 20*time.Since(begun))
	}
}

// save writes the state, if it has changed. What is in the file is always a whole state, the old or
// the new one.
func (k *keeper) save() error {
	var b bytes.Buffer
	if err := k.dps.Save(&b); err != nil {
		return err
	}
	digest := sha256.Sum256(b.Bytes())
	if digest == k.last {
		return nil
	}
	if err := replace(k.file, b.Bytes()); err != nil {
		return err
	}
	k.last = digest
	return nil
}

// close keeps the state for the last time.
func (k *keeper) close() error {
	close(k.done)
	k.task.Wait()
	return k.save()
}

// unfinished is how the name of a state goes on that is being written, with a star for what is
// random.
const unfinished = ".new-*"

// escapeGlob returns a pattern that matches a name alone.
func escapeGlob(name string) string {
	if runtime.GOOS == "windows" { // it has no escapes, and its names have no stars
		return name
	}
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(name)
}

// replace puts a new file, for the owner's eyes alone, in the place of an old one: the name leads
// to the one or the other, whole, whenever the process is killed or the power fails.
func replace(file string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+unfinished)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	if dir, err := os.Open(filepath.Dir(file)); err == nil {
		_ = dir.Sync() // the new name, too, where the system can
		_ = dir.Close()
	}
	return nil
}
