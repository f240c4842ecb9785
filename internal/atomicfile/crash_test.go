// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

const (
	store  = "/store"
	target = "/store/entry"
	// Four sectors, and no byte of one is a byte of another at the same place.
	older  = "OLDER-VALUE"
	old    = "the-old-value-16"
	newer  = "A_NEW_VALUE__16+"
	newest = "4th value, 15 B"
	absent = "(absent)"
)

// A step changes the target to value; absent is its removal.
type step struct {
	value string
	run   func(atomicfile.FS) error
}

func write(value string) step {
	return step{value, func(fsys atomicfile.FS) error {
		return atomicfile.WriteFS(fsys, target, []byte(value), 0o600)
	}}
}

func removal() step {
	return step{absent, func(fsys atomicfile.FS) error { return atomicfile.RemoveFS(fsys, target) }}
}

// first makes the directory as well, as a store does at its first use.
func first(value string) step {
	return step{value, func(fsys atomicfile.FS) error {
		if err := atomicfile.MkdirFS(fsys, store, 0o700); err != nil {
			return err
		}
		return atomicfile.WriteFS(fsys, target, []byte(value), 0o600)
	}}
}

// A verdict counts the crash states of a history by what a loader finds in them.
type verdict struct {
	states, old, new     int
	corrupt, notDurable  int
	exampleOfTheFirstBad string
}

// enumerate runs the steps on a file system that seam may have made worse, then
// looks at every state that a power cut at any operation could leave. While step i
// runs, the value before it and its own are allowed; once it has returned nil, only
// its own. Where nothing has returned nil yet, the values before are what m says.
func enumerate(
	t *testing.T, m *model, seam func(atomicfile.FS) atomicfile.FS, steps ...step,
) verdict {
	t.Helper()
	fsys := seam(m)
	value := read(m.now())
	before := map[string]bool{}
	m.crashes(m.done, func(d disk) { before[read(d)] = true })
	var found verdict
	for _, s := range steps {
		begin := m.done
		require.NoError(t, s.run(fsys))
		require.Equal(t, s.value, read(m.now()), "the running system sees the new value")
		for operation := begin; operation <= m.done; operation++ {
			found.states += m.crashes(operation, func(d disk) {
				bad := ""
				switch content := read(d); {
				case content == s.value:
					found.new++
				case before[content] && operation < m.done:
					found.old++
				case before[content]:
					found.notDurable++
					bad = "returned nil, but the old value is back"
				default:
					found.corrupt++
					bad = "neither old nor new"
				}
				if bad != "" && found.exampleOfTheFirstBad == "" {
					found.exampleOfTheFirstBad = fmt.Sprintf(
						"%s, after operation %d of %d from %q to %q: %v", bad, operation-begin,
						m.done-begin, value, s.value, d,
					)
				}
			})
		}
		value, before = s.value, map[string]bool{s.value: true}
	}
	t.Logf(
		"%d crash states: %d old, %d new, %d corrupt, %d not durable", found.states, found.old,
		found.new, found.corrupt, found.notDurable,
	)
	return found
}

func read(d disk) string {
	if content, ok := d.read(target); ok {
		return content
	}
	return absent
}

func honest(fsys atomicfile.FS) atomicfile.FS { return fsys }

// histories are what happens to a store, from its first use on.
var histories = map[string]struct {
	dirs  []string
	steps []step
}{
	"first write":                  {[]string{store}, []step{write(newer)}},
	"first write makes the store":  {nil, []step{first(newer), write(old)}},
	"old to new":                   {[]string{store}, []step{write(old), write(newer)}},
	"shorter, longer, shorter":     {[]string{store}, []step{write(older), write(newer), write(newest), write("")}},
	"the same again":               {[]string{store}, []step{write(old), write(old)}},
	"removed":                      {[]string{store}, []step{write(old), removal()}},
	"removed and written":          {[]string{store}, []step{write(old), removal(), write(newer)}},
	"removed twice, never written": {[]string{store}, []step{removal(), removal()}},
}

func TestPowerCutLeavesOldOrNewAndAfterReturnNew(t *testing.T) {
	for name, history := range histories {
		t.Run(name, func(t *testing.T) {
			found := enumerate(t, newModel(history.dirs...), honest, history.steps...)
			assert.Zero(t, found.corrupt, found.exampleOfTheFirstBad)
			assert.Zero(t, found.notDurable, found.exampleOfTheFirstBad)
			assert.NotZero(t, found.new)
		})
	}
}

// A process that is killed at operation k leaves its temporary file; the power may
// fail as well, at any moment of the next write.
func TestWriteAfterAKillIsAsSafeAndLeavesNoTemporaryFile(t *testing.T) {
	for k := 0; ; k++ {
		m := newModel(store)
		require.NoError(t, write(old).run(m))
		killed := kill(m, k, write(newer))
		m.crashes(m.done, func(d disk) {
			assert.Contains(
				t, []string{old, newer}, read(d), "killed at operation %d, then the power fails", k,
			)
		})
		found := enumerate(t, m, honest, write(newest))
		assert.Zero(t, found.corrupt, "killed at operation %d: %s", k, found.exampleOfTheFirstBad)
		assert.Zero(
			t, found.notDurable, "killed at operation %d: %s", k, found.exampleOfTheFirstBad,
		)
		assert.Empty(t, m.now().leftovers(), "killed at operation %d", k)
		if !killed {
			break
		}
	}
}

// kill runs s until it has done k operations.
func kill(m *model, k int, s step) (killed bool) {
	type death struct{}
	defer func() {
		m.fail = nil
		if dead := recover(); dead != nil {
			killed = dead == death{}
		}
	}()
	m.fail = func(string, string) error {
		if k == 0 {
			panic(death{})
		}
		k--
		return nil
	}
	_ = s.run(m)
	return false
}

// The rest of the file proves that the test above can fail: each part of the
// protocol is left out in turn.

func TestWithoutFsyncOfTheFileTheEnumerationFindsCorruption(t *testing.T) {
	found := enumerate(t, newModel(store), func(fsys atomicfile.FS) atomicfile.FS {
		return noSync{fsys}
	}, write(old), write(newer))
	assert.NotZero(t, found.corrupt)
}

func TestWithoutFsyncOfTheDirectoryTheEnumerationFindsTheOldValueBack(t *testing.T) {
	found := enumerate(t, newModel(store), func(fsys atomicfile.FS) atomicfile.FS {
		return noSyncDir{fsys}
	}, write(newer))
	assert.NotZero(t, found.notDurable)
	assert.Zero(t, found.corrupt, "this fsync is for durability only")
}

func TestWithoutFsyncOfTheDirectoryARemovedFileComesBack(t *testing.T) {
	m := newModel(store)
	require.NoError(t, write(old).run(m))
	found := enumerate(t, m, func(fsys atomicfile.FS) atomicfile.FS {
		return noSyncDir{fsys}
	}, removal())
	assert.NotZero(t, found.notDurable)
}

func TestWithoutFsyncOfTheParentTheStoreIsLost(t *testing.T) {
	found := enumerate(t, newModel(), func(fsys atomicfile.FS) atomicfile.FS {
		return noSyncParent{fsys}
	}, first(newer))
	assert.NotZero(t, found.notDurable)
}

func TestInPlaceWritingTheEnumerationFindsCorruption(t *testing.T) {
	m := newModel(store)
	require.NoError(t, write(old).run(m))
	found := enumerate(t, m, honest, step{newer, func(fsys atomicfile.FS) error {
		if err := fsys.Remove(target); err != nil { // the model's only way to truncate
			return err
		}
		f, err := fsys.Create(target, 0o600)
		if err != nil {
			return err
		}
		if _, err := f.Write([]byte(newer)); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
		return fsys.SyncDir(store)
	}})
	assert.NotZero(t, found.corrupt)
}

type noSync struct{ atomicfile.FS }

func (n noSync) Create(path string, perm fs.FileMode) (atomicfile.File, error) {
	f, err := n.FS.Create(path, perm)
	return noSyncFile{f}, err
}

type noSyncFile struct{ atomicfile.File }

func (noSyncFile) Sync() error { return nil }

type noSyncDir struct{ atomicfile.FS }

func (noSyncDir) SyncDir(string) error { return nil }

type noSyncParent struct{ atomicfile.FS }

func (n noSyncParent) SyncDir(dir string) error {
	if dir != store {
		return nil
	}
	return n.FS.SyncDir(dir)
}
