// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tiny are the options with which the tests of testdata/tiny hold.
func tiny() options {
	return options{
		dir: "..", pkg: "./mutate/testdata/tiny", jobs: 2, short: true, seed: 1,
		env: []string{"TINY=yes"}, timeout: 10 * time.Second,
	}
}

func measure(t *testing.T, o options) (printed string, err error) {
	t.Helper()
	var out strings.Builder
	err = o.measure(t.Context(), &out, io.Discard)
	return out.String(), err
}

// argued writes a file of arguments.
func argued(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tiny.txt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const wanted = `./mutate/testdata/tiny: 20 mutants in TIME
total 16, caught 12 (2 of them by time-out), survived 4 (1 of them argued), score 75.0 %
besides: not compiled 1, compiled to the same as unbroken 2, as an earlier one 1

survivors:
mutate/testdata/tiny/tiny.go:41:35: alone: return n > 3 becomes return n >= 3
	func alone(n int) bool { return n > 3 }
mutate/testdata/tiny/tiny.go:41:37: alone: return n > 3 becomes return n > 4
	func alone(n int) bool { return n > 3 }
mutate/testdata/tiny/tiny.go:44:15: Apart: Apart = 3 becomes Apart = 4
	const Apart = 3

argued:
mutate/testdata/tiny/tiny.go:6:7: Clamp: n > 10 becomes n >= 10
	if n > 10 {
	but: 10 is 10 either way, whichever branch is taken
`

func TestSurvivorsAreFoundAndArguedOnesAreListed(t *testing.T) {
	o := tiny()
	o.min = 75
	o.argued = argued(t, `# A comment.
tiny.go:Clamp: n > 10 becomes n >= 10: 10 is 10 either way,
	whichever branch is taken
tiny.go:Again: m = n is removed: the compiler sees that, too
`)
	got, err := measure(t, o)
	if err != nil {
		t.Error(err)
	}
	got = regexp.MustCompile(`in [\d.ms]+\n`).ReplaceAllString(got, "in TIME\n")
	if got != wanted {
		t.Errorf("got\n%s\nwant\n%s", got, wanted)
	}
}

func TestTestsHaveToHoldBeforeAnythingIsBroken(t *testing.T) {
	o := tiny()
	o.env = nil
	_, err := measure(t, o)
	if err == nil || !strings.Contains(err.Error(), "run without -short or TINY") {
		t.Error(err)
	}
}

func TestListIsOfAllMutantsOrOfTheSample(t *testing.T) {
	o := tiny()
	o.list = true
	all, err := measure(t, o)
	if err != nil || strings.Count(all, "\n") != 20 {
		t.Error(err, all)
	}
	o.sample = 5
	some, err := measure(t, o)
	if err != nil || strings.Count(some, "\n") != 5 {
		t.Error(err, some)
	}
	for line := range strings.Lines(some) {
		if !strings.Contains(all, line) {
			t.Errorf("%q is not in the list", line)
		}
	}
	again, _ := measure(t, o)
	o.seed = 2
	other, _ := measure(t, o)
	if again != some || other == some {
		t.Error("the sample depends on the seed and on nothing else")
	}
}

func TestWhatIsWrongIsSaid(t *testing.T) {
	for name, change := range map[string]func(o *options){
		"usage":                func(o *options) { o.pkg = "" },
		"goes on with nothing": func(o *options) { o.argued = argued(t, "\tindented\n") },
		"no such file":         func(o *options) { o.argued = "none.txt" },
		"not one package":      func(o *options) { o.pkg = "container/..." },
		"has no tests":         func(o *options) { o.pkg = "./mutate/testdata/operators" },
	} {
		o := tiny()
		change(&o)
		if _, err := measure(t, o); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
