// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// asReleased is how a program of a release is built, with CGO_ENABLED=0.
var asReleased = []string{"build", "-trimpath", "-ldflags", "-s -w"}

// reproduce builds the thermostat for the smallest board twice: from two copies of the commit in
// different places, the second with nothing that was compiled before. Both have to be the same.
func (w *workshop) reproduce() error {
	fresh, err := os.MkdirTemp(w.out, "go-build-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(fresh) }()
	board := append(system{"linux", "arm", "GOARM=6"}.environment(), "GOFLAGS=")
	first, err := w.built("one/place", board)
	if err != nil {
		return err
	}
	second, err := w.built("another", append(board, "GOCACHE="+fresh))
	if err != nil {
		return err
	}
	one, two := sha256.Sum256(first), sha256.Sum256(second)
	if one != two {
		return fmt.Errorf("two builds of one commit differ: %x and %x", one, two)
	}
	say(os.Stdout, "two builds of thermostat for armv6 are one: sha256 %x", one)
	return nil
}

// built is the thermostat, as it is built from a copy of the commit in a directory of this name.
func (w *workshop) built(name string, env []string) ([]byte, error) {
	source := w.path(name)
	if err := os.RemoveAll(source); err != nil {
		return nil, err
	}
	clone := exec.Command("git", "clone", "--quiet", ".", source)
	if out, err := clone.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("git clone: %w\n%s", err, out)
	}
	program := w.path("thermostat-again")
	args := append(slices.Clone(asReleased), "-o", program, "./examples/thermostat")
	build := command("go", args...)
	build.Dir = source
	build.Env = env
	if err := build.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(program)
}

// reproduces builds a program of a release again, as its README says, from a copy of the commit in
// another directory. The bytes have to be those of the release: whoever has the source can tell
// that nothing else is in it.
func (w *workshop) reproduces(dist string) error {
	changes, err := exec.Command("git", "status", "--porcelain").Output()
	if err != nil {
		return fmt.Errorf("git status: %w", err)
	}
	if len(changes) > 0 { // binaries say so
		say(os.Stdout, "not built again: the tree has changes that are not committed")
		return nil
	}
	again, err := w.built("elsewhere", append(os.Environ(), "CGO_ENABLED=0"))
	if err != nil {
		return err
	}
	here, err := exec.Command("go", "env", "GOOS", "GOARCH").Output()
	if err != nil {
		return err
	}
	system := string(bytes.Join(bytes.Fields(here), []byte("_")))
	program, err := oneFile(filepath.Join(dist, "thermostat_"+system+"_*", "thermostat"))
	if err != nil {
		return fmt.Errorf("for %s: %w", system, err)
	}
	released, err := os.ReadFile(program)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, released) {
		return fmt.Errorf("thermostat for %s is not the same when it is built again", system)
	}
	say(os.Stdout, "thermostat for %s is the same when it is built in another place", system)
	return nil
}
