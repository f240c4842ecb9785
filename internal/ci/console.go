// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
)

// consolePage is tested by the step of its own, once a browser is there.
const consolePage = "/internal/consolepage"

const consoleLog = "console.log"

// what the test of a large fleet measured
var measured = regexp.MustCompile(`(?m)2,000 devices: .*$`)

// console uses the simulator's console in a browser.
func (w *workshop) console() error {
	if err := install(consolePage); err != nil {
		return err
	}
	c := exec.Command("go", "test", "-count=1", "-v", "-timeout=20m", "."+consolePage)
	c.Env = append(os.Environ(), "REHOME_CONSOLE=required")
	if err := w.withoutSkips(consoleLog, c); err != nil {
		return err
	}
	text, err := os.ReadFile(w.path(consoleLog))
	if err != nil {
		return err
	}
	line := measured.FindString(string(text))
	if line == "" {
		return fmt.Errorf("%s: the large fleet was not measured", consoleLog)
	}
	say(os.Stdout, "%s", line)
	return nil
}
