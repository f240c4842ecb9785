// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// steps are what may be asked for.
var steps = map[string]func(*workshop) error{
	"race":      (*workshop).race,
	"commands":  (*workshop).commands,
	"official":  (*workshop).official,
	"console":   (*workshop).console,
	"repeat":    (*workshop).repeat,
	"secrets":   (*workshop).secrets,
	"fuzz":      (*workshop).fuzz,
	"cross":     (*workshop).cross,
	"draws":     (*workshop).draws,
	"bench":     (*workshop).bench,
	"gosec":     (*workshop).gosec,
	"vuln":      (*workshop).vuln,
	"sbom":      (*workshop).sbom,
	"notices":   (*workshop).notices,
	"reproduce": (*workshop).reproduce,
	"package":   (*workshop).pack,
}

func main() {
	out := flag.String("out", "", "`directory` of logs and binaries; made if need be")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "ci:", err)
		os.Exit(1)
	}
}

func run(out string, names []string) error {
	known := slices.Sorted(maps.Keys(steps))
	if out == "" || len(names) == 0 {
		return fmt.Errorf("usage: ci -out DIRECTORY STEP…; the steps are %v", known)
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o700); err != nil {
		return err
	}
	for _, name := range names {
		step, ok := steps[name]
		if !ok {
			return fmt.Errorf("no step %s; there are %v", name, known)
		}
		if err := step(&workshop{out: out}); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// workshop is where the steps work.
type workshop struct {
	out string // directory of logs and binaries
}

func (w *workshop) path(name string) string { return filepath.Join(w.out, name) }

// has reports whether an earlier step has left something by this name.
func (w *workshop) has(name string) bool {
	info, err := os.Stat(w.path(name))
	return err == nil && info.Size() > 0
}

// command is a program that shows its output, and has no input.
func command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	return c
}

// logged runs a program with all of its output in a file, and returns that too.
func (w *workshop) logged(log string, c *exec.Cmd) (text string, err error) {
	f, err := os.Create(w.path(log))
	if err != nil {
		return "", err
	}
	c.Stdout, c.Stderr = f, f
	err = errors.Join(c.Run(), f.Close())
	data, readErr := os.ReadFile(w.path(log))
	return string(data), errors.Join(err, readErr)
}

// build makes a binary of a package.
func (w *workshop) build(name, pkg string) (path string, err error) {
	path = w.path(name)
	return path, command("go", "build", "-o", path, pkg).Run()
}

// tool makes a tool out of a module in internal/tools, unless an earlier step has. It runs a few
// times at most, so it is compiled fast rather than well.
func (w *workshop) tool(module, pkg string) (binary string, err error) {
	name := path.Join(module+"-tools", path.Base(strings.TrimSuffix(pkg, "/v2")))
	binary = w.path(name)
	if w.has(name) {
		return binary, nil
	}
	build := command("go", "build", "-trimpath", "-gcflags", "all=-N -l", "-ldflags", "-s -w",
		"-o", binary, pkg)
	build.Dir = filepath.Join("internal", "tools", module)
	return binary, build.Run()
}

// packages lists the module's, without those named: they have steps of their own.
func packages(but ...string) ([]string, error) {
	out, err := exec.Command("go", "list", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	var all []string
	for _, path := range strings.Fields(string(out)) {
		if !slices.ContainsFunc(but, func(s string) bool { return strings.HasSuffix(path, s) }) {
			all = append(all, path)
		}
	}
	return all, nil
}

// oneFile is the only file whose path matches a pattern.
func oneFile(pattern string) (string, error) {
	found, err := filepath.Glob(pattern)
	if err == nil && len(found) != 1 {
		err = fmt.Errorf("%d files are %s", len(found), filepath.Base(pattern))
	}
	if err != nil {
		return "", err
	}
	return found[0], nil
}

// last returns the last n lines of a text.
func last(n int, text string) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}

func say(w io.Writer, format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }
