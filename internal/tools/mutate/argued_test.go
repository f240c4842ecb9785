// SPDX-License-Identifier: Apache-2.0

package main

import (
	"maps"
	"strings"
	"testing"
)

func TestArgumentsThatNoSurvivorMatchesAreErrors(t *testing.T) {
	named := func(words string) mutant {
		return mutant{file: "/x/a.go", function: "F", words: words}
	}
	mutants := []mutant{
		named("a"), named("a (2)"), named("caught"), named("unchanged"), named("as a (2)"),
		named("late"),
	}
	results := []result{
		{survived, 0}, {survived, 1}, {caught, 2}, {unchanged, 3}, {repeated, 1}, {tooLong, 5},
	}
	path := argued(t, `a.go:F: a: why
a.go:F: as a (2): it is
	the same
a.go:F: unchanged: fine
a.go:F: left: not tried
a.go:F: caught: wrong
a.go:F: late: wrong
a.go:G: a: wrong
b.go:F: a: wrong
a.go:F: a
a.go:F: a:
`)
	arguments, err := readArguments(path)
	if err != nil {
		t.Fatal(err)
	}
	reasons, stale := argue(arguments, mutants, results, []mutant{named("left")})
	if !maps.Equal(reasons, map[int]string{0: "why", 1: "it is the same"}) {
		t.Error(reasons)
	}
	r := report{mutants: mutants, results: results, reasons: reasons, stale: stale}
	lines := strings.Split(r.judge("a.txt", 0).Error(), "\n")
	if len(lines) != 6 || lines[0] != "a.txt:6: nothing that survives: a.go:F: caught: wrong" {
		t.Error(strings.Join(lines, "\n"))
	}
}

func TestScoreUnderTheLeastIsAnError(t *testing.T) {
	r := report{results: []result{
		{caught, 0}, {tooLong, 1}, {caught, 2}, {survived, 3}, {unchanged, 4}, {notCompiled, 5},
		{repeated, 3},
	}}
	if r.score() != 75 || r.judge("", 75) != nil {
		t.Error(r.score(), r.judge("", 75))
	}
	err := r.judge("", 75.5)
	if err == nil || err.Error() != "the score 75.0 % is under 75.5 %" {
		t.Error(err)
	}
	if new(report).judge("", 0) == nil {
		t.Error("nothing was tried, which proves nothing")
	}
}
