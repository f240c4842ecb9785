// SPDX-License-Identifier: Apache-2.0

package atomicfile_test

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/rehome-iot/rehome/internal/atomicfile"
)

// A model is a file system that remembers what it was asked to do, so that it can
// say what may be found after a power cut at any moment. Each operation has
// effects on the medium. An effect may be lost, or overtake others, until
// something makes it durable: fsync of a file its content and length, fsync of a
// directory its names. A write has one effect for each sector, and a sector may be
// torn. That is what POSIX leaves open, and more than any one real file system does.
type model struct {
	effects []effect
	done    int         // operations so far
	inodes  map[int]int // length of each file as its process sees it
	fail    func(op, path string) error
}

const sector = 4 // bytes; small, so that a value of a few has several

type effect struct {
	at      int // the operation it belongs to
	durable int // the operation that made it so; 0: none yet
	kind    effectKind
	dir     string // of names: the directory whose fsync makes it durable
	path    string
	target  string // of a rename
	inode   int
	offset  int
	data    []byte
}

type effectKind int

const (
	makeDir effectKind = iota
	link
	move
	unlink
	length
	content
)

func newModel(dirs ...string) *model {
	m := &model{inodes: map[int]int{}}
	for _, dir := range dirs {
		m.effects = append(m.effects, effect{kind: makeDir, path: dir, durable: 1})
	}
	m.done = 1
	return m
}

// begin counts an operation and asks whether it is to fail.
func (m *model) begin(op, path string) error {
	if m.fail != nil {
		if err := m.fail(op, path); err != nil {
			return err
		}
	}
	m.done++
	return nil
}

func (m *model) add(e effect) {
	e.at = m.done
	if e.kind <= unlink {
		e.dir = filepath.Dir(e.path)
	}
	m.effects = append(m.effects, e)
}

func (m *model) Create(path string, _ fs.FileMode) (atomicfile.File, error) {
	if err := m.begin("create", path); err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	now := m.now()
	if !now.dirs[filepath.Dir(path)] {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	if _, ok := now.names[path]; ok {
		return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrExist}
	}
	inode := len(m.inodes) + 1
	m.inodes[inode] = 0
	m.add(effect{kind: link, path: path, inode: inode})
	return &modelFile{m, path, inode}, nil
}

func (m *model) Rename(oldpath, newpath string) error {
	if err := m.begin("rename", newpath); err != nil {
		return err
	}
	inode, ok := m.now().names[oldpath]
	if !ok {
		return fs.ErrNotExist
	}
	m.add(effect{kind: move, path: oldpath, target: newpath, inode: inode})
	return nil
}

func (m *model) Remove(path string) error {
	if err := m.begin("remove", path); err != nil {
		return err
	}
	if _, ok := m.now().names[path]; !ok {
		return fs.ErrNotExist
	}
	m.add(effect{kind: unlink, path: path})
	return nil
}

func (m *model) Mkdir(path string, _ fs.FileMode) error {
	if err := m.begin("mkdir", path); err != nil {
		return err
	}
	if m.now().dirs[path] {
		return fs.ErrExist
	}
	m.add(effect{kind: makeDir, path: path})
	return nil
}

func (m *model) List(dir string) ([]string, error) {
	if err := m.begin("list", dir); err != nil {
		return nil, err
	}
	var names []string
	for path := range m.now().names {
		if filepath.Dir(path) == dir {
			names = append(names, filepath.Base(path))
		}
	}
	return names, nil
}

func (m *model) SyncDir(dir string) error {
	if err := m.begin("syncdir", dir); err != nil {
		return err
	}
	if !m.now().dirs[dir] {
		return fs.ErrNotExist
	}
	m.settle(func(e effect) bool { return e.kind <= unlink && e.dir == dir })
	return nil
}

func (m *model) settle(which func(effect) bool) {
	for i, e := range m.effects {
		if e.durable == 0 && which(e) {
			m.effects[i].durable = m.done
		}
	}
}

type modelFile struct {
	m     *model
	path  string
	inode int
}

func (f *modelFile) Write(p []byte) (int, error) {
	if err := f.m.begin("write", f.path); err != nil {
		return 0, err
	}
	from := f.m.inodes[f.inode]
	f.m.inodes[f.inode] += len(p)
	f.m.add(effect{kind: length, inode: f.inode, offset: from + len(p)})
	for i := 0; i < len(p); i += sector {
		f.m.add(effect{
			kind: content, inode: f.inode, offset: from + i,
			data: []byte(string(p[i:min(i+sector, len(p))])),
		})
	}
	return len(p), nil
}

func (f *modelFile) Sync() error {
	if err := f.m.begin("sync", f.path); err != nil {
		return err
	}
	f.m.settle(func(e effect) bool { return e.kind >= length && e.inode == f.inode })
	return nil
}

func (f *modelFile) Close() error { return f.m.begin("close", f.path) }

// A disk is what is found when the power comes back.
type disk struct {
	dirs  map[string]bool
	names map[string]int
	data  map[int][]byte
}

// read returns what a loader finds; ok false is an absent file.
func (d disk) read(path string) (content string, ok bool) {
	inode, ok := d.names[path]
	if !ok || !d.dirs[filepath.Dir(path)] {
		return "", false
	}
	return string(d.data[inode]), true
}

// What becomes of an effect that nothing made durable.
type fate int

const (
	kept fate = iota
	lost
	torn // content only: the first half of the sector has arrived
)

// now is what the running system sees: every effect.
func (m *model) now() disk {
	return m.after(m.done, func(int) fate { return kept })
}

// after plays the effects of the first operations, each to its fate.
func (m *model) after(operations int, fates func(int) fate) disk {
	d := disk{dirs: map[string]bool{"/": true}, names: map[string]int{}, data: map[int][]byte{}}
	for i, e := range m.effects {
		if e.at > operations {
			break
		}
		what := kept
		if e.durable == 0 || e.durable > operations {
			what = fates(i)
		}
		if what == lost {
			continue
		}
		switch e.kind {
		case makeDir:
			d.dirs[e.path] = true
		case link:
			d.names[e.path] = e.inode
		case move: // atomic: the medium never has half a rename
			delete(d.names, e.path)
			d.names[e.target] = e.inode
		case unlink:
			delete(d.names, e.path)
		case length:
			grown := make([]byte, e.offset) // what is not written reads as zeros
			copy(grown, d.data[e.inode])
			d.data[e.inode] = grown
		case content:
			data := e.data
			if what == torn {
				data = data[:len(data)/2]
			}
			if e.offset < len(d.data[e.inode]) {
				copy(d.data[e.inode][e.offset:], data)
			}
		}
	}
	return d
}

// crashes calls visit with every state that a power cut may leave after the first
// operations: each subset of the effects that are not durable, each sector of them
// whole, lost or torn. It returns how many there were.
func (m *model) crashes(operations int, visit func(disk)) int {
	var open []int
	for i, e := range m.effects {
		if e.at <= operations && (e.durable == 0 || e.durable > operations) {
			open = append(open, i)
		}
	}
	fates := make(map[int]fate)
	states := 0
	var choose func(n int)
	choose = func(n int) {
		if n == len(open) {
			states++
			visit(m.after(operations, func(i int) fate { return fates[i] }))
			return
		}
		worst := lost
		if m.effects[open[n]].kind == content {
			worst = torn
		}
		for f := kept; f <= worst; f++ {
			fates[open[n]] = f
			choose(n + 1)
		}
	}
	choose(0)
	return states
}

// leftovers lists temporary files.
func (d disk) leftovers() []string {
	var found []string
	for path := range d.names {
		if strings.Contains(path, ".tmp") {
			found = append(found, path)
		}
	}
	return found
}

func (d disk) String() string {
	var text strings.Builder
	for path, inode := range d.names {
		fmt.Fprintf(&text, "%s=%q ", path, d.data[inode])
	}
	return text.String()
}
