// SPDX-License-Identifier: Apache-2.0

package programtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Build builds the program in the working directory, with flags of go build besides, in a directory
// of its own, which remove takes away. It is for a TestMain.
func Build(name string, flags ...string) (path string, remove func(), err error) {
	dir, err := os.MkdirTemp("", name)
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	path = filepath.Join(dir, name)
	if runtime.GOOS == "windows" {
		path += ".exe"
	}
	if err := build(".", path, ".", flags...); err != nil {
		remove()
		return "", nil, err
	}
	return path, remove, nil
}

// Simulator builds the simulator of the project whose root is given, for the time of the test.
func Simulator(t testing.TB, root string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "simulator")
	if err := build(root, path, "./examples/simulator"); err != nil {
		t.Fatal(err)
	}
	return path
}

func build(dir, path, program string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build"}, flags...), "-o", path, program)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}
