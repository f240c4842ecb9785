// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// argued says which findings of gosec are right as they are, and why.
const argued = "internal/tools/security/gosec.txt"

// gosec looks for what its name says in all modules of the tree. What it finds is mended, or stands
// in the list of what is argued.
func (w *workshop) gosec() error {
	gosec, err := w.tool("security", "github.com/securego/gosec/v2/cmd/gosec")
	if err != nil {
		return err
	}
	text, err := os.ReadFile(argued)
	if err != nil {
		return err
	}
	arguments, err := readArguments(string(text))
	if err != nil {
		return err
	}
	report := w.path("gosec.json")
	c := exec.Command(gosec, "-quiet", "-nosec", "-no-fail", "-fmt", "json", "-out", report,
		"./...")
	if log, err := w.logged("gosec.log", c); err != nil {
		return fmt.Errorf("%w\n%s", err, last(30, log))
	}
	data, err := os.ReadFile(report)
	if err != nil {
		return err
	}
	found, files, err := findingsOf(data)
	if err != nil {
		return err
	}
	if err := compare(arguments, found); err != nil {
		return err
	}
	say(os.Stdout, "%d files; all of %d findings are argued in %s", files, len(found), argued)
	return nil
}

// finding is one of gosec's: a rule, and the place by the module's root.
type finding struct{ rule, file, line, details string }

func (f finding) String() string { return f.file + ":" + f.line + ": " + f.rule + ": " + f.details }

// findingsOf reads a report. gosec reports a package that it could not load, and goes on.
func findingsOf(report []byte) (found []finding, files int, err error) {
	var r struct {
		Errors map[string]json.RawMessage `json:"Golang errors"`
		Issues []struct {
			Rule    string `json:"rule_id"`
			Details string
			File    string
			Line    string
		}
		Stats struct{ Files int }
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, 0, fmt.Errorf("gosec's report: %w", err)
	}
	for file, why := range r.Errors {
		return nil, 0, fmt.Errorf("gosec could not read %s: %s", file, why)
	}
	root, err := os.Getwd()
	if err != nil {
		return nil, 0, err
	}
	for _, i := range r.Issues {
		file, err := filepath.Rel(root, i.File)
		if err != nil {
			return nil, 0, err
		}
		found = append(found, finding{i.Rule, filepath.ToSlash(file), i.Line, i.Details})
	}
	return found, r.Stats.Files, nil
}

// argument is why findings of a rule are right: those in a directory, if place ends with a slash,
// or so many in one file.
type argument struct {
	rule, place string
	count       int
	reason      string
}

func (a argument) about(f finding) bool {
	return f.rule == a.rule && (f.file == a.place ||
		strings.HasSuffix(a.place, "/") && strings.HasPrefix(f.file, a.place))
}

var argumentLine = regexp.MustCompile(`^(G\d{3}) (\S+/|\S+\.go (\d+)): (\S.*)$`)

// readArguments reads the list: an indented line goes on with the one before, # begins a comment.
func readArguments(text string) (all []argument, err error) {
	for line := range strings.Lines(text) {
		switch trimmed := strings.TrimSpace(line); {
		case trimmed == "" || trimmed[0] == '#':
		case line[0] == '\t' && len(all) > 0:
			all[len(all)-1].reason += " " + trimmed
		default:
			m := argumentLine.FindStringSubmatch(trimmed)
			if m == nil {
				return nil, fmt.Errorf("%s: %q is neither RULE FILE COUNT: REASON nor "+
					"RULE DIRECTORY/: REASON", argued, trimmed)
			}
			a := argument{rule: m[1], reason: m[4]}
			a.place, _, _ = strings.Cut(m[2], " ")
			a.count, _ = strconv.Atoi(m[3]) // digits, or nothing
			all = append(all, a)
		}
	}
	return all, nil
}

// compare fails if a finding has no argument, and if an argument has not as many as it says.
func compare(arguments []argument, found []finding) error {
	var wrong []error
	seen := make([]int, len(arguments))
	for _, f := range found {
		known := false
		for i, a := range arguments {
			if a.about(f) {
				known = true
				seen[i]++
			}
		}
		if !known {
			wrong = append(wrong, errors.New(f.String()))
		}
	}
	for i, a := range arguments {
		switch n := seen[i]; {
		case n == 0:
			wrong = append(wrong, fmt.Errorf(
				"%s: nothing is found any more of %s in %s: take it out", argued, a.rule, a.place))
		case a.count != 0 && n != a.count:
			wrong = append(wrong, fmt.Errorf("%s: %s has %d findings of %s, argued are %d", argued,
				a.place, n, a.rule, a.count))
			for _, f := range found {
				if a.about(f) {
					wrong = append(wrong, errors.New(f.String()))
				}
			}
		}
	}
	return errors.Join(wrong...)
}
