// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// bench builds and runs the tests of one package.
type bench struct {
	module  string // directory that the package's pattern is meant in
	pattern string
	dir     string // of the package: its tests run there
	work    string // for what is built

	run     string   // which tests, all if empty
	short   bool     // -test.short
	env     []string // besides the environment of this program
	timeout time.Duration

	frozen map[string]string // the package's files, and copies of them in work
}

// freeze copies the package, tests included: whoever tries it for minutes may go on editing it.
func (b *bench) freeze() error {
	files, err := filepath.Glob(filepath.Join(b.dir, "*.go"))
	if err != nil {
		return err
	}
	b.frozen = map[string]string{}
	for _, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		b.frozen[path] = filepath.Join(b.work, "frozen-"+filepath.Base(path))
		if err := os.WriteFile(b.frozen[path], text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// sum is of the assembly that the compiler has made of a package and its tests. It names lines, but
// no columns. Of the linked program it could not be: what no test calls is not in there.
type sum [sha256.Size]byte

// errNotCompiled is of a mutant that is no program.
var errNotCompiled = errors.New("does not compile")

// compileError is how the compiler begins to say so. Anything else is trouble that must not look
// like a mutant that does not count.
var compileError = regexp.MustCompile(`(?m)^(vet: )?\S+\.go:\d+:\d+: `)

// build compiles the tests, of the unbroken code if there is no mutant.
func (b *bench) build(ctx context.Context, name string, m *mutant) (path string, s sum, err error) {
	overlay, err := b.overlay(name, m)
	if err != nil {
		return "", s, err
	}
	path = filepath.Join(b.work, name+".test")
	// The linker is faster without what debuggers need.
	command := exec.CommandContext(
		ctx, "go", "test", "-c", "-o", path, "-gcflags=-S", "-ldflags=-s -w", "-overlay", overlay,
		b.pattern,
	)
	command.Dir = b.module
	out, err := command.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return "", s, context.Cause(ctx)
	case err != nil && compileError.Match(out):
		return "", s, fmt.Errorf("%w\n%s", errNotCompiled, withoutAssembly(out))
	case err != nil:
		return "", s, fmt.Errorf("go test -c: %w\n%s", err, withoutAssembly(out))
	}
	if _, err := os.Stat(path); err != nil {
		return "", s, fmt.Errorf("%s has no tests: %w", b.pattern, err)
	}
	return path, sha256.Sum256(out), nil
}

// withoutAssembly is what else the go command has printed.
func withoutAssembly(out []byte) []byte {
	var other []byte
	for line := range bytes.Lines(out) {
		if line[0] != '\t' && !bytes.Contains(line, []byte(" size=")) {
			other = append(other, line...)
		}
	}
	return last(other)
}

// last is the end of what a program has printed.
func last(out []byte) []byte { return out[max(0, len(out)-8<<10):] }

// overlay tells the compiler to read the copies, and the mutant if there is one.
func (b *bench) overlay(name string, m *mutant) (path string, err error) {
	replace := maps.Clone(b.frozen)
	if m != nil {
		text, err := os.ReadFile(replace[m.file])
		if err != nil {
			return "", err
		}
		replace[m.file] = filepath.Join(b.work, name+".go")
		text = bytes.Join([][]byte{text[:m.from], []byte(m.text), text[m.to:]}, nil)
		if err := os.WriteFile(replace[m.file], text, 0o600); err != nil {
			return "", err
		}
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	path = filepath.Join(b.work, name+".json")
	return path, os.WriteFile(path, list, 0o600)
}

// limited runs a program with 8 GB of addresses at most, where the shell can do that: a loop that a
// mutant never leaves may also fill the memory.
const limited = `ulimit -v 8388608 2>/dev/null; exec "$0" "$@"`

// outcome is how a run of the tests has ended.
type outcome int

const (
	failed outcome = iota
	passed
	late // it took too long
)

// test runs the tests. If they do not pass it says what they printed last.
func (b *bench) test(ctx context.Context, path string) (how outcome, output string, err error) {
	args := []string{"-c", limited, path, "-test.failfast", "-test.timeout", b.timeout.String(),
		"-test.short=" + strconv.FormatBool(b.short), "-test.run", b.run}
	// Whoever does not even keep to the time is killed.
	within, cancel := context.WithTimeout(ctx, b.timeout+10*time.Second)
	defer cancel()
	command := exec.CommandContext(within, "sh", args...)
	command.Dir = b.dir
	command.Env = append(command.Environ(), b.env...)
	command.WaitDelay = time.Second
	var printed tail
	command.Stdout, command.Stderr = &printed, &printed
	err = command.Run()
	switch _, exited := errors.AsType[*exec.ExitError](err); {
	case ctx.Err() != nil:
		return failed, "", context.Cause(ctx)
	case err == nil:
		return passed, "", nil
	case within.Err() != nil || printed.timedOut:
		return late, string(printed.end), nil
	case exited:
		return failed, string(printed.end), nil
	}
	return failed, "", err
}

// tail keeps the end of what is written to it, and whether it tells of a time-out, of which what
// follows may be long.
type tail struct {
	end      []byte
	timedOut bool
}

func (t *tail) Write(p []byte) (int, error) {
	all := append(t.end, p...) // the words may come in pieces
	t.timedOut = t.timedOut || bytes.Contains(all, []byte("panic: test timed out after "))
	t.end = last(all)
	return len(p), nil
}

// warmUp runs the tests with the code as it is, which must hold, and measures how long a mutant may
// take unless that was said: the mutants run beside each other, so several times as long.
func (b *bench) warmUp(ctx context.Context) (s sum, err error) {
	given := b.timeout
	if given == 0 {
		b.timeout = 10 * time.Minute
	}
	if err := b.freeze(); err != nil {
		return s, err
	}
	path, s, err := b.build(ctx, "unbroken", nil)
	if err != nil {
		return s, err
	}
	begun := time.Now()
	how, output, err := b.test(ctx, path)
	if err != nil {
		return s, err
	}
	if how != passed {
		return s, fmt.Errorf("the tests fail before anything is broken\n%s", output)
	}
	if given == 0 {
		b.timeout = (5*time.Second + 4*time.Since(begun)).Round(time.Second)
	}
	return s, nil
}
