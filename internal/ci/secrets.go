// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// keysIn are the directories whose tests and programs have keys: those are looked for.
var keysIn = []string{
	"provisioning", "provisioning/dpstest", "examples/thermostat", "examples/quickstart",
	"examples/lifecycle", "examples/rehome", "internal",
}

// expected are lines that the output has if it is what it should be: a search through nothing finds
// nothing.
var expected = []string{
	`^ok\s.*/provisioning\s`, `^ok\s.*/hubconn\s`, `^ok\s.*/thermostat\s`, `^--- PASS: Test.*Boot`,
	`state"?[=:]"?connecting|"msg":"thermostat starts"`,
	`^All 7 steps went as expected`, `^All 6 steps went as expected`, // quickstart and lifecycle
	`^--- PASS: TestWhatWasRecordedDoesTheSameOnceMore`, `msg="console is ready"`,
}

// secrets looks for keys and tokens in all that the suite and the programs print.
func (w *workshop) secrets() error {
	if err := w.printed(); err != nil {
		return err
	}
	logs, err := w.thermostats()
	if err != nil {
		return err
	}
	canary, err := w.build("canary", "./internal/canary")
	if err != nil {
		return err
	}
	var args []string
	for _, dir := range keysIn {
		args = append(args, "-keys", dir)
	}
	if err := w.plant(exec.Command(canary, append(args, w.path("planted"))...)); err != nil {
		return err
	}
	for _, line := range expected {
		args = append(args, "-expect", line)
	}
	args = append(args, w.path(testLog), w.path(quickstartLog), w.path(lifecycleLog),
		w.path(consoleLog))
	if w.has(officialLog) {
		args = append(args, w.path(officialLog))
	}
	return command(canary, append(args, logs...)...).Run()
}

// printed makes what an earlier step has not.
func (w *workshop) printed() error {
	if !w.has(testLog) {
		if err := w.race(); err != nil {
			return err
		}
	}
	if !w.has(consoleLog) {
		if err := w.console(); err != nil {
			return err
		}
	}
	if !w.has(lifecycleLog) {
		if _, err := w.typed(lifecycleLog, lifecycle); err != nil {
			return err
		}
	}
	if w.has(quickstartLog) {
		return nil
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	lines, err := commandsOf(string(readme))
	if err != nil {
		return err
	}
	_, err = w.typed(quickstartLog, lines[0])
	return err
}

// plant puts secrets into this very output, each in a line of its own: the search is worth
// something only if it finds every one of them, and nothing else.
func (w *workshop) plant(search *exec.Cmd) error {
	log, err := os.ReadFile(w.path(testLog))
	if err != nil {
		return err
	}
	const key = "canary-planted-key"
	signature := "sig=" + base64.StdEncoding.EncodeToString(make([]byte, 32))
	var lines []int
	next := bytes.Count(log, []byte("\n")) + 1
	for _, form := range []string{key, base64.StdEncoding.EncodeToString([]byte(key)), signature} {
		log = append(log, "level=INFO msg=connected key="+form+"\n"...)
		lines = append(lines, next)
		next++
	}
	name := w.path("planted")
	if err := os.WriteFile(name, log, 0o600); err != nil {
		return err
	}
	search.Stderr = io.Discard
	found, err := search.Output()
	if search.ProcessState.ExitCode() != 1 { // as when it has found something
		return errors.Join(errors.New("the planted secrets were not found"), err)
	}
	for _, line := range lines {
		if !strings.Contains("\n"+string(found), fmt.Sprintf("\n%s:%d: ", name, line)) {
			return fmt.Errorf("the secret planted in line %d was not found", line)
		}
	}
	if n := strings.Count(string(found), "\n"); n != len(lines) {
		return fmt.Errorf("%d finds, %d of them planted:\n%s", n, len(lines), found)
	}
	return nil
}
