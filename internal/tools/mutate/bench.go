package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
}

// sum is of a test program. Equal programs do the same.
type sum [sha256.Size]byte

// errNotCompiled is of a mutant that is no program.
var errNotCompiled = errors.New("does not compile")

// compileError is how the compiler begins to say so. Anything else is trouble that must not look
// like a mutant that does not count.
var compileError = regexp.MustCompile(`(?m)^(vet: )?\S+\.go:\d+:\d+: `)

// build compiles the tests, with one file in place of another if there is a mutant.
func (b *bench) build(ctx context.Context, name string, m *mutant) (path string, s sum, err error) {
	path = filepath.Join(b.work, name+".test")
	// Nothing may get into the program that differs although the code does not.
	args := []string{"test", "-c", "-o", path, "-ldflags", "-s -w -buildid="}
	if m != nil {
		overlay, err := b.overlay(name, m)
		if err != nil {
			return "", s, err
		}
		args = append(args, "-overlay", overlay)
	}
	command := exec.CommandContext(ctx, "go", append(args, b.pattern)...)
	command.Dir = b.module
	out, err := command.CombinedOutput()
	if err != nil {
		if compileError.Match(out) {
			err = errNotCompiled
		}
		return "", s, fmt.Errorf("%w\n%s", err, bytes.TrimSpace(out))
	}
	f, err := os.Open(path)
	if err != nil {
		return "", s, fmt.Errorf("%s has no tests: %w", b.pattern, err)
	}
	defer f.Close()
	hash := sha256.New()
	_, err = io.Copy(hash, f)
	return path, sum(hash.Sum(nil)), err
}

// overlay tells the compiler to read the mutant.
func (b *bench) overlay(name string, m *mutant) (path string, err error) {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	broken := filepath.Join(b.work, name+".go")
	text = bytes.Join([][]byte{text[:m.from], []byte(m.text), text[m.to:]}, nil)
	if err := os.WriteFile(broken, text, 0o600); err != nil {
		return "", err
	}
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{m.file: broken}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(b.work, name+".json")
	return path, os.WriteFile(path, list, 0o600)
}

// limited runs a program with 4 GB of addresses at most, where the shell can do that: a loop that a
// mutant never leaves may also fill the memory.
const limited = `ulimit -v 4194304 2>/dev/null; exec "$0" "$@"`

// pass runs the tests. If they fail it says what they printed.
func (b *bench) pass(ctx context.Context, path string) (ok bool, output string, err error) {
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
	if ctx.Err() != nil {
		return false, "", context.Cause(ctx)
	}
	if err == nil {
		return true, "", nil
	}
	if _, ok := errors.AsType[*exec.ExitError](err); ok || within.Err() != nil {
		return false, string(printed), nil
	}
	return false, "", err
}

// tail keeps the end of what is written to it.
type tail []byte

func (t *tail) Write(p []byte) (int, error) {
	const most = 8 << 10
	*t = append(*t, p...)
	*t = (*t)[max(0, len(*t)-most):]
	return len(p), nil
}

// warmUp runs the tests with the code as it is, which must hold, and measures how long a mutant may
// take unless that was said: the mutants run beside each other, so several times as long.
func (b *bench) warmUp(ctx context.Context) (s sum, err error) {
	given := b.timeout
	if given == 0 {
		b.timeout = 10 * time.Minute
	}
	path, s, err := b.build(ctx, "unbroken", nil)
	if err != nil {
		return s, err
	}
	begun := time.Now()
	ok, output, err := b.pass(ctx, path)
	if err != nil {
		return s, err
	}
	if !ok {
		return s, fmt.Errorf("the tests fail before anything is broken\n%s", output)
	}
	if given == 0 {
		b.timeout = (5*time.Second + 4*time.Since(begun)).Round(time.Second)
	}
	return s, nil
}
