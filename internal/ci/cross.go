// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// What a stripped thermostat for the smallest Raspberry Pi may have before this fails, in bytes: as
// it is built for every board, and as it is built with the settings of small. The former is the
// limit that CI keeps, so that it does not grow unseen, and not the target: that is 7.15 MB for
// either (docs/benchmarks.md).
const (
	armv6Limit = 7_750_000
	smallLimit = 7_150_000
)

// small leaves out HTTP/2, which no device package asks for, and leaves calls as calls, but where a
// TLS handshake spends its time. The later of two settings that fit a package counts.
var small = []string{
	"-tags", "nethttpomithttp2",
	"-gcflags", "all=-l", "-gcflags", "crypto/...=", "-gcflags", "runtime/...=",
}

// system is one that devices have.
type system struct {
	os, arch, setting string
}

var systems = []system{
	{"linux", "arm", "GOARM=6"}, {"linux", "arm", "GOARM=7"}, {"linux", "arm64", ""},
	{"linux", "riscv64", ""}, {"linux", "mipsle", "GOMIPS=softfloat"}, {"linux", "386", ""},
	{"windows", "amd64", ""},
}

func (s system) String() string { return s.os + "/" + s.arch + " " + s.setting }

// board is how an archive of a release names it.
func (s system) board() string {
	arm, _ := strings.CutPrefix(s.setting, "GOARM=")
	switch {
	case s.os != "linux":
		return s.os + "-" + s.arch
	case s.arch == "arm":
		return "armv" + arm
	}
	return s.arch
}

func (s system) environment() []string {
	env := append(os.Environ(), "CGO_ENABLED=0", "GOOS="+s.os, "GOARCH="+s.arch)
	if s.setting != "" {
		env = append(env, s.setting)
	}
	return env
}

// cross builds for other systems, and tests where an int has 32 bits and 64-bit atomics need
// alignment.
func (w *workshop) cross() error {
	// With -trimpath as below: one build of the standard library serves both.
	vet := command("go", "vet", "-trimpath", "./...")
	vet.Env = append(os.Environ(), "GOOS=windows")
	if err := vet.Run(); err != nil {
		return err
	}
	for _, s := range systems {
		size, err := w.buildFor(s)
		if err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
		say(os.Stdout, "%-32s thermostat %9d bytes, stripped", s, size)
		if s.setting != "GOARM=6" {
			continue
		}
		if size >= armv6Limit {
			return fmt.Errorf("%s: thermostat has %d bytes, the limit is %d", s, size, armv6Limit)
		}
		if size, err = w.buildFor(s, small...); err != nil {
			return fmt.Errorf("%s, small: %w", s, err)
		}
		say(os.Stdout, "%-32s thermostat %9d bytes, stripped, small", s, size)
		if size >= smallLimit {
			return fmt.Errorf("%s: a small thermostat has %d bytes, the limit is %d", s, size,
				smallLimit)
		}
	}
	for _, b := range boards {
		result, err := w.emulate(b)
		if err != nil {
			return err
		}
		say(os.Stdout, "%s, emulated: %s", b.board(), result)
	}
	if !runsHere(system{"linux", "386", ""}) {
		say(os.Stdout, "WARNING: this machine runs no programs for 386: with 32 bits only "+
			"those of armv6 are tested")
		return nil
	}
	// layout looks at documents and programs, which are the same everywhere.
	all, err := packages(officialClients, consolePage, "/internal/layout")
	if err != nil {
		return err
	}
	// Everything has run on this machine's own architecture, where handshakes are cheap. Here
	// -short leaves one wiring to each test of provisioning.
	test := command("go", append([]string{
		"test", "-trimpath", "-short", "-timeout", "30m",
	}, all...)...)
	test.Env = system{"linux", "386", ""}.environment()
	test.Stdout = &prefixed{to: os.Stdout, prefix: "386: "}
	test.Stderr = test.Stdout
	return test.Run()
}

// runsHere says that this machine runs programs of a system. A kernel may be built without the
// older ones.
func runsHere(s system) bool {
	test := exec.Command("go", "test", "-run", "^$", "./retry")
	test.Env = s.environment()
	return test.Run() == nil
}

func (w *workshop) buildFor(s system, settings ...string) (size int64, err error) {
	dir := w.path("cross")
	if err := os.RemoveAll(dir); err != nil {
		return 0, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return 0, err
	}
	arguments := append([]string{"build", "-trimpath", "-ldflags", "-s -w",
		"-o", dir + string(filepath.Separator)}, settings...)
	build := command("go", append(arguments, "./examples/...")...)
	build.Env = s.environment()
	if err := build.Run(); err != nil {
		return 0, err
	}
	binary, err := oneFile(filepath.Join(dir, "thermostat*"))
	if err != nil {
		return 0, err
	}
	info, err := os.Stat(binary)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// prefixed says at the beginning of each line where it comes from.
type prefixed struct {
	to     io.Writer
	prefix string
	rest   []byte // of a line that has not ended yet
}

func (p *prefixed) Write(b []byte) (int, error) {
	p.rest = append(p.rest, b...)
	for {
		line, rest, ended := bytes.Cut(p.rest, []byte("\n"))
		if !ended {
			return len(b), nil
		}
		if _, err := fmt.Fprintf(p.to, "%s%s\n", p.prefix, line); err != nil {
			return 0, err
		}
		p.rest = rest
	}
}
