// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strings"
	"testing"
)

// operators is what becomes of testdata/operators, by function.
var operators = map[string][]string{
	"limit":    {"limit = 40 becomes limit = 41"},
	"patience": {"patience = 5 * time.Second becomes patience = 2 * 5 * time.Second"},
	"gaps": {
		"0 becomes a second", "patience becomes 2 * patience",
		"time.Minute becomes 2 * time.Minute",
	},
	"share": {"share = 0.2 becomes share = 0.2/2"},
	"table": {"cells [4]int becomes cells [5]int"},

	"less":   {"return a < b becomes return a <= b"},
	"lessEq": {"return a <= b becomes return a < b"},
	"more":   {"return a > b becomes return a >= b"},
	"moreEq": {"return a >= b becomes return a > b"},
	"same":   {"return a == b becomes return a != b"},
	"other":  {"return a != b becomes return a == b"},
	"under":  {"return a < 3 becomes return a <= 3"}, // which a < 4 is as well
	"over":   {"return 3 < a becomes return 3 <= a", "return 3 < a becomes return 4 < a"},
	"far":    {"return a < 3 becomes return a <= 3", "return a < 3 becomes return a < 4"},

	"and": {
		"a is left out of a && b && c", "b is left out of a && b && c",
		"c is left out of a && b && c",
	},
	"mixed": {
		"a is left out of a || b && c", "b && c is left out of a || b && c",
		"b is left out of b && c", "c is left out of b && c",
	},
	"not": {"return !a becomes return a"},
	"yes": {"return true becomes return false"},

	"branch": {
		"condition a becomes true", "condition a becomes false", "return 1 becomes return 2",
	},
	"loop": {
		"condition n > limit becomes false", "n > limit becomes n >= limit", "n-- is removed",
		"condition i < n becomes false", "i := 0 becomes i := 1", "i < n becomes i <= n",
	},
	"table.assign": {
		"t.n = a is removed", "t.n += a is removed",
		"t.on = true is removed", "t.up = t.on is removed", "t.on = true becomes t.on = false",
		"t.n = a is removed (2)", "_ = 0 becomes _ = 1",
		"t.on = pair() is removed", "t.n = pair() is removed",
	},
	"pair": {"return false, second becomes return true, second"},
	"define": {
		"n := t.n becomes n := 0", "on := t.on becomes on := false", "none := 0 becomes none := 1",
		"condition n > none becomes true", "condition n > none becomes false",
		"n > none becomes n >= none",
	},
	"table.only": {
		"condition a becomes true", "condition a becomes false", // so t.n++ is left out
		"condition b() becomes true", "condition b() becomes false", "t.n++ is removed",
		"condition a becomes true (2)", "condition a becomes false (2)", "t.n++ is removed (2)",
		"t.n-- is removed",
	},
	"calls": {"f() is removed", "defer f() is removed", "go f() is removed"},
	"tagged": {
		"1 becomes 2", "f() is removed", "the body of case second, limit is emptied",
		"f() is removed (2)", "f() is removed (3)", "n = 2 is removed", "n = 2 becomes n = 3",
	},
	"untagged": {
		"condition n < limit becomes true", "condition n < limit becomes false",
		"n < limit becomes n <= limit", "f() is removed",
	},
	"extremes": {"return min(a, max(b)) becomes return max(a, max(b))"},
	"durations": {
		"t.gap = 0 is removed", "t.gap = 0 becomes t.gap = a second", "t.gap *= 2 is removed",
		"t.gap *= 2 becomes t.gap *= 2 * 2", "*t = table{gap: patience} is removed",
		"*t = table{gap: patience} becomes *t = table{gap: 2 * patience}",
	},
	"min3": {
		"return min(1, 2) becomes return min(2, 2)", "return min(1, 2) becomes return min(1, 3)",
	},
}

func TestEachOperatorMakesItsMutants(t *testing.T) {
	s, err := load("..", "./mutate/testdata/operators")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, m := range s.mutants() {
		got[m.function] = append(got[m.function], m.words)
	}
	for function, words := range operators {
		if !slices.Equal(words, got[function]) {
			t.Errorf("%s:\n%s\nis not\n%s", function,
				strings.Join(got[function], "\n"), strings.Join(words, "\n"))
		}
		delete(got, function)
	}
	if len(got) > 0 {
		t.Errorf("not expected: %v", got)
	}
}

func TestMutantsAreGoOnTheSameLines(t *testing.T) {
	s, err := load("..", "./mutate/testdata/operators")
	if err != nil {
		t.Fatal(err)
	}
	keys := map[string]bool{}
	for _, m := range s.mutants() {
		text, err := os.ReadFile(m.file)
		if err != nil {
			t.Fatal(err)
		}
		broken := string(text[:m.from]) + m.text + string(text[m.to:])
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, broken, 0); err != nil {
			t.Errorf("%s: %v", m.key(), err)
		}
		if strings.Count(broken, "\n") != strings.Count(string(text), "\n") {
			t.Errorf("%s: moves the lines after it", m.key())
		}
		if !strings.Contains(string(text), "\n"+m.source) &&
			!strings.Contains(string(text), "\t"+m.source) {
			t.Errorf("%s: no line %q", m.key(), m.source)
		}
		if keys[m.key()] {
			t.Errorf("%s: twice", m.key())
		}
		keys[m.key()] = true
	}
}
