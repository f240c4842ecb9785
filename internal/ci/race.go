// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
)

// testLog is what every test prints; the search for secrets reads it.
const testLog = "test.log"

// officialClients are tested by the step of their own, once they are installed.
const officialClients = "/internal/officialclients"

// race runs every test under the race detector.
func (w *workshop) race() error {
	all, err := packages(officialClients, consolePage)
	if err != nil {
		return err
	}
	// Verbose, since the run serves the search for secrets as well, and with the time that a busy
	// machine takes for the longest of the packages.
	args := append([]string{"test", "-race", "-shuffle=on", "-v", "-timeout", "30m"}, all...)
	return w.tests(testLog, exec.Command("go", args...))
}

// tests runs go test -v and shows what matters of its output.
func (w *workshop) tests(log string, c *exec.Cmd) error {
	text, err := w.logged(log, c)
	for line := range strings.Lines(text) {
		if verdict.MatchString(line) && !strings.HasPrefix(line, "?") {
			fmt.Print(line)
		}
	}
	if err != nil { // last, since the end of a long output is what is read
		fmt.Print(last(400, failures(text)))
		return fmt.Errorf("%s: %w", strings.Join(c.Args[:min(5, len(c.Args))], " "), err)
	}
	say(os.Stdout, "%d tests passed", len(passed.FindAllString(text, -1)))
	return nil
}

var (
	verdict = regexp.MustCompile(`^(ok|FAIL|\?)[ \t]`)
	passed  = regexp.MustCompile(`(?m)^\s*--- PASS`)
	skipped = regexp.MustCompile(`(?m)^\s*--- SKIP.*$`)
	chatter = regexp.MustCompile(
		`^\s*(=== (RUN|PAUSE|CONT|NAME)|--- (PASS|SKIP))|^\d{4}/\d\d/\d\d `, // and default loggers
	)
)

// failures is what the packages printed that failed, without what went well in them.
func failures(log string) string {
	var block, failed strings.Builder
	for line := range strings.Lines(log) {
		if !chatter.MatchString(line) {
			block.WriteString(line)
		}
		if verdict.MatchString(line) {
			if strings.HasPrefix(line, "FAIL") {
				failed.WriteString(block.String())
			}
			block.Reset()
		}
	}
	failed.WriteString(block.String()) // what has no verdict has ended before it
	return failed.String()
}
