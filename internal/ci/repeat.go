// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// How often the tests of Device are repeated.
const (
	repeats     = 12
	raceRepeats = 2
)

// repeat runs the tests of Device again and again, with another order and other random delays each
// time. They wait in virtual time: one process for each of two cores keeps both at work.
func (w *workshop) repeat() error {
	names, err := deviceTests("provisioning")
	if err != nil {
		return err
	}
	for _, kind := range []struct {
		name  string
		flags []string
		count int
	}{{"plain", nil, repeats}, {"race", []string{"-race"}, raceRepeats}} {
		binary := w.path(kind.name + ".test")
		args := append([]string{"test", "-c", "-o", binary}, kind.flags...)
		if err := command("go", append(args, "./provisioning")...).Run(); err != nil {
			return err
		}
		if err := w.repeated(binary, kind.name, names, kind.count); err != nil {
			return err
		}
		say(os.Stdout, "%s: %d tests, %d times each: ok", kind.name, len(names), kind.count)
	}
	return nil
}

func (w *workshop) repeated(binary, name string, tests []string, count int) error {
	const halves = 2
	var failed [halves]error
	var all sync.WaitGroup
	for half := range halves {
		all.Go(func() {
			c := exec.Command(binary, "-test.run", "^("+strings.Join(tests, "|")+")$",
				"-test.count", strconv.Itoa(count/halves), "-test.shuffle", "on",
				"-test.timeout", "30m")
			c.Dir = "provisioning"
			text, err := w.logged(fmt.Sprintf("%s.%d.log", name, half), c)
			if err != nil {
				failed[half] = fmt.Errorf("%w\n%s", err, last(200, failures(text)))
			}
		})
	}
	all.Wait()
	return errors.Join(failed[:]...)
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// deviceTests are the tests that run a whole Device.
func deviceTests(dir string) (names []string, err error) {
	for _, pattern := range []string{"device_test.go", "rules_*_test.go"} {
		files, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("there is no %s in %s", pattern, dir)
		}
		for _, name := range files {
			source, err := os.ReadFile(name)
			if err != nil {
				return nil, err
			}
			for _, m := range testFunc.FindAllStringSubmatch(string(source), -1) {
				names = append(names, m[1])
			}
		}
	}
	return names, nil
}
