// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"
)

// argument is a survivor of which somebody says why it may survive.
type argument struct {
	line int
	text string // the mutant's key, a colon and the reason
	used bool
}

// reason is what an argument says about a mutant, if it is about that one.
func (a *argument) reason(m *mutant) (reason string, ok bool) {
	reason, ok = strings.CutPrefix(a.text, m.key()+": ")
	return reason, ok && reason != ""
}

// readArguments reads a file of them. An indented line goes on with the one before, and # begins a
// comment.
func readArguments(path string) ([]argument, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []argument
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		indented := strings.HasPrefix(line, "\t") || strings.HasPrefix(line, " ")
		line = strings.TrimSpace(line)
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case !indented:
			all = append(all, argument{line: number, text: line})
		case len(all) == 0:
			return nil, fmt.Errorf("%s:%d: this line goes on with nothing", path, number)
		default:
			all[len(all)-1].text += " " + line
		}
	}
	return all, nil
}

// argue finds the reasons of survivors, by their index, and the arguments that are about none. A
// mutant that is compiled to the same as the unbroken code survives by definition, and what becomes
// the same depends on the compiler: an argument about one is not wrong. left are mutants that have
// not been tried.
func argue(arguments []argument, mutants []mutant, results []result, left []mutant) (
	reasons map[int]string, stale []argument,
) {
	reasons = map[int]string{}
	for _, a := range arguments {
		for i := range mutants {
			reason, ok := a.reason(&mutants[i])
			if !ok {
				continue
			}
			switch of := results[i].of; {
			case results[i].verdict == unchanged:
				a.used = true
			case results[of].verdict == survived:
				a.used, reasons[of] = true, reason
			}
		}
		for i := range left {
			_, ok := a.reason(&left[i])
			a.used = a.used || ok
		}
		if !a.used {
			stale = append(stale, a)
		}
	}
	return reasons, stale
}
