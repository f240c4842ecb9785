// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// How long the README's test command may take: what it should on two cores that have nothing else
// to do, and what is too much on any machine.
const (
	testTarget = time.Minute
	testLimit  = 25 * time.Minute
)

// quickstartLog is what the README's first command prints.
const quickstartLog = "command.0.log"

// The other play that the README names, and what it prints.
const (
	lifecycle    = "go run ./examples/lifecycle"
	lifecycleLog = "lifecycle.log"
)

// commands runs the README's commands: what is printed there is what is run.
func (w *workshop) commands() error {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		return err
	}
	lines, err := commandsOf(string(readme))
	if err != nil {
		return err
	}
	if err := command("go", "clean", "-testcache").Run(); err != nil {
		return err
	}
	var took time.Duration
	for i, line := range lines {
		if took, err = w.typed(fmt.Sprintf("command.%d.log", i), line); err != nil {
			return err
		}
	}
	if _, err = w.typed(lifecycleLog, lifecycle); err != nil {
		return err
	}
	tests, err := os.ReadFile(w.path("command.1.log"))
	if err != nil {
		return err
	}
	if line := notRun.FindString(string(tests)); line != "" {
		say(os.Stdout, "The official clients were SKIPPED, as they are not installed. "+
			"Step official installs and runs them.")
	}
	if took > testTarget {
		say(os.Stdout, "WARNING: %s took %v, the target is %v", lines[1], took, testTarget)
	}
	if took > testLimit {
		return fmt.Errorf("%s took %v, the limit is %v", lines[1], took, testLimit)
	}
	return w.stepsAsShown(string(readme))
}

var notRun = regexp.MustCompile(`(?m)^ok\s.*/internal/officialclients\s.*\[no tests to run\]$`)

// typed runs a line as somebody types it, shows what it prints and keeps it.
func (w *workshop) typed(log, line string) (took time.Duration, err error) {
	f, err := os.Create(w.path(log))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	say(os.Stdout, "$ %s", line)
	c := command("bash", "-c", line)
	c.Env = append(os.Environ(), "REHOME_TESTS=") // as nobody has it set; race has run the others
	c.Stdout = io.MultiWriter(os.Stdout, f)
	c.Stderr = c.Stdout
	began := time.Now()
	err = c.Run()
	took = time.Since(began).Round(time.Second)
	if s := c.ProcessState; s != nil {
		busy := (s.UserTime() + s.SystemTime()).Round(time.Second)
		say(os.Stdout, "took %v, and %v of processors", took, busy)
	}
	return took, err
}

// commandsOf reads the commands from the README: the block of shell commands that follows its mark.
func commandsOf(readme string) ([]string, error) {
	_, marked, ok := strings.Cut(readme, "\n<!-- commands -->\n```sh\n")
	block, _, closed := strings.Cut(marked, "\n```\n")
	if !ok || !closed {
		return nil, fmt.Errorf("README.md has no block of commands")
	}
	lines := strings.Split(block, "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[1], "go test") {
		return nil, fmt.Errorf("README.md should have two commands, with a go test last: %q", lines)
	}
	return lines, nil
}

// stepsAsShown compares the steps that the README shows with those of the program.
func (w *workshop) stepsAsShown(readme string) error {
	printed, err := os.ReadFile(w.path(quickstartLog))
	if err != nil {
		return err
	}
	shown := stepsOf(readme)
	if len(shown) == 0 {
		return fmt.Errorf("README.md shows no step of quickstart")
	}
	has := func(title string) bool { return strings.Contains(string(printed), title) }
	if i := slices.IndexFunc(shown, func(title string) bool { return !has(title) }); i >= 0 {
		return fmt.Errorf("README.md shows a step that quickstart does not have: %s", shown[i])
	}
	return nil
}

// stepRow is a row of quickstart's table: number, title, requests expected and seen.
var stepRow = regexp.MustCompile(`(?m)^[0-9]+\. (.*?)  .*[0-9]/[0-9]`)

func stepsOf(text string) (titles []string) {
	for _, m := range stepRow.FindAllStringSubmatch(text, -1) {
		titles = append(titles, m[1])
	}
	return titles
}
