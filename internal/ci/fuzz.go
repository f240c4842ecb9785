// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// For how long each target is fuzzed, with one of two cores. What goes into devices reads the bytes
// of strangers; the simulators' targets guard the tests of it.
const (
	fuzzDevices    = "10s"
	fuzzSimulators = "2s"

	fuzzAtOnce   = 2
	fewestToFuzz = 4 // fewer targets than these, on either side, have not been found
)

// What goes into devices: what this program has in it, and the modules for devices that have a
// go.mod of their own.
const deviceProgram = "github.com/rehome-iot/rehome/examples/thermostat"

var deviceModules = []string{
	"provisioning/tpm", "hubconn/outbox", "examples/ownclient", "examples/pkcs11",
}

// target is a fuzz test.
type target struct {
	pkg, name string
	device    bool // of a package that goes into devices
}

// time is for how long it is fuzzed: FUZZTIME, such as 2m, asks for another time.
func (t target) time() string {
	if asked := os.Getenv("FUZZTIME"); asked != "" {
		return asked
	}
	if t.device {
		return fuzzDevices
	}
	return fuzzSimulators
}

// dir is that of the target's package: a nested module is called by its directory, too.
func (t target) dir() string {
	return filepath.FromSlash(strings.TrimPrefix(t.pkg, rootModule+"/"))
}

const rootModule = "github.com/rehome-iot/rehome"

// fuzz runs every fuzz target for a while: each test binary is built once, with the coverage that
// guides the engine, and two targets run at a time.
func (w *workshop) fuzz() error {
	modules, err := ownModules()
	if err != nil {
		return err
	}
	found, declared, err := fuzzed(modules)
	if err != nil {
		return err
	}
	var targets []target
	for _, module := range modules {
		if len(found[module]) == 0 {
			continue
		}
		more, err := targetsIn(module, found[module])
		if err != nil {
			return fmt.Errorf("module in %s: %w", module, err)
		}
		targets = append(targets, more...)
	}
	if len(targets) != declared {
		return fmt.Errorf("%d fuzz targets are declared, and %d are run", declared, len(targets))
	}
	devices := 0
	for _, t := range targets {
		if t.device {
			devices++
		}
	}
	if devices < fewestToFuzz || len(targets)-devices < fewestToFuzz {
		return fmt.Errorf(
			"only %d fuzz targets found, %d of them of devices", len(targets), devices,
		)
	}
	binaries := map[string]string{}
	for _, t := range targets {
		if binaries[t.pkg] != "" {
			continue
		}
		binary := w.path(fmt.Sprintf("fuzz.%d.test", len(binaries)))
		build := command("go", "test", "-c", "-fuzz=^Fuzz", "-o", binary, ".")
		build.Dir = t.dir()
		if err := build.Run(); err != nil {
			return err
		}
		binaries[t.pkg] = binary
	}
	work := make(chan target)
	var mu sync.Mutex
	var failed error
	var workers sync.WaitGroup
	for i := range fuzzAtOnce {
		workers.Go(func() {
			for t := range work {
				err := w.fuzzTwice(t, binaries[t.pkg], fmt.Sprintf("fuzz.%d.log", i))
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	for _, t := range targets {
		work <- t
	}
	close(work)
	workers.Wait()
	return failed
}

// fuzzed are the directories with fuzz targets, by the module that they are in, and how many
// targets there are in all.
func fuzzed(modules []string) (dirs map[string][]string, targets int, err error) {
	out, err := exec.Command("git", "grep", "--untracked", "-E", `^func Fuzz[A-Za-z0-9_]*\(`, "--",
		"*_test.go").Output()
	if err != nil {
		return nil, 0, fmt.Errorf("git grep: %w", err)
	}
	dirs = map[string][]string{}
	for line := range strings.Lines(string(out)) {
		file, _, _ := strings.Cut(line, ":")
		dir := filepath.Dir(file)
		in := "."
		for _, module := range modules {
			if dir == module || strings.HasPrefix(dir, module+"/") {
				in = module
			}
		}
		if !slices.Contains(dirs[in], dir) {
			dirs[in] = append(dirs[in], dir)
		}
		targets++
	}
	return dirs, targets, nil
}

// targetsIn are those of some packages of a module, as go test sees them.
func targetsIn(module string, dirs []string) ([]target, error) {
	list := exec.Command("go", "test", "-list", "^Fuzz")
	list.Dir = module
	for _, dir := range dirs {
		within, err := filepath.Rel(module, dir)
		if err != nil {
			return nil, err
		}
		list.Args = append(list.Args, "./"+filepath.ToSlash(within))
	}
	listed, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("go test -list: %w\n%s", err, listed)
	}
	inside := exec.Command("go", "list", "-deps", deviceProgram)
	if slices.Contains(deviceModules, module) {
		inside = exec.Command("go", "list", "./...")
		inside.Dir = module
	}
	devices, err := inside.Output()
	if err != nil {
		return nil, fmt.Errorf("%v: %w", inside.Args, err)
	}
	return targetsOf(string(listed), strings.Fields(string(devices))), nil
}

// The engine of Go 1.26 fails, the busier the machine the oftener, when its time is up at a bad
// moment (go.dev/issue/75804). That is the end that was wanted, if there is nothing else in it.
var (
	fuzzEnded = regexp.MustCompile(
		`(?m)^--- FAIL: Fuzz\w+ \([0-9.]+s\)\n\s+context deadline exceeded$`)
	fuzzExecuted = regexp.MustCompile(`execs: [1-9]`)
	fuzzFound    = regexp.MustCompile(`Failing input written|panic|(?m)^\s+--- FAIL`)
)

func endedByTime(text string) bool {
	return fuzzEnded.MatchString(text) && fuzzExecuted.MatchString(text) &&
		!fuzzFound.MatchString(text)
}

// fuzzTwice gives a target a second chance where what failed was the engine.
func (w *workshop) fuzzTwice(t target, binary, log string) error {
	text, err := w.fuzzOnce(t, binary, log)
	if err != nil && !fuzzFound.MatchString(text) && !endedByTime(text) {
		text, err = w.fuzzOnce(t, binary, log)
	}
	if err != nil && !endedByTime(text) {
		return fmt.Errorf("%s %s: %w\n%s", t.pkg, t.name, err, text)
	}
	say(os.Stdout, "%s %s for %s", t.pkg, t.name, t.time())
	return nil
}

func (w *workshop) fuzzOnce(t target, binary, log string) (text string, err error) {
	c := exec.Command(binary, "-test.run", "^$", "-test.fuzz", "^"+t.name+"$",
		"-test.fuzztime", t.time(), "-test.fuzzminimizetime", "5x", "-test.parallel", "1",
		"-test.fuzzcachedir", filepath.Join(w.out, "corpus", t.pkg))
	c.Dir = t.dir() // where a finding is written down
	return w.logged(log, c)
}

// targetsOf reads what go test -list prints: a package's targets, and then its name. devices are
// the packages that go into devices.
func targetsOf(list string, devices []string) (targets []target) {
	var names []string
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case strings.HasPrefix(fields[0], "Fuzz"):
			names = append(names, fields[0])
		case fields[0] == "ok" && len(fields) > 1:
			for _, name := range names {
				targets = append(targets, target{
					pkg: fields[1], name: name, device: slices.Contains(devices, fields[1]),
				})
			}
			names = nil
		}
	}
	return targets
}
