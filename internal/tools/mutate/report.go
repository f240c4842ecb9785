// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
)

// report is what there is to say in the end.
type report struct {
	dir     string // that paths are shown from
	mutants []mutant
	results []result
	reasons map[int]string // of survivors that are argued
	stale   []argument
}

func (r *report) count(v verdict) (n int) {
	for _, result := range r.results {
		if result.verdict == v {
			n++
		}
	}
	return n
}

func (r *report) caught() int { return r.count(caught) + r.count(tooLong) }

func (r *report) total() int { return r.caught() + r.count(survived) }

// score is the part that was caught, in percent.
func (r *report) score() float64 { return 100 * float64(r.caught()) / float64(max(1, r.total())) }

func (r *report) print(w io.Writer) {
	say := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	say("total %d, caught %d (%d of them by time-out), ", r.total(), r.caught(), r.count(tooLong))
	say("survived %d (%d of them argued), ", r.count(survived), len(r.reasons))
	say("score %.1f %%\n", r.score())
	say("besides: not compiled %d, compiled to the same as unbroken %d, as an earlier one %d\n",
		r.count(notCompiled), r.count(unchanged), r.count(repeated))
	r.survivors(w, "survivors", false)
	r.survivors(w, "argued", true)
}

// survivors lists those with a reason, or those without.
func (r *report) survivors(w io.Writer, title string, argued bool) {
	for i, result := range r.results {
		reason, ok := r.reasons[i]
		if result.verdict != survived || ok != argued {
			continue
		}
		if title != "" {
			fmt.Fprintf(w, "\n%s:\n", title)
			title = ""
		}
		fmt.Fprintf(w, "%s\n\t%s\n", place(r.dir, &r.mutants[i]), r.mutants[i].source)
		if ok {
			fmt.Fprintf(w, "\tbut: %s\n", reason)
		}
	}
}

// place is a mutant and where it is. From the file's name on, but for line and column, it is what
// an argument begins with.
func place(dir string, m *mutant) string {
	file, err := filepath.Rel(dir, m.file)
	if err != nil {
		file = m.file
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", file, m.line, m.column, m.function, m.words)
}

// judge says what is wrong with it all.
func (r *report) judge(argued string, least float64) error {
	var wrong []error
	if r.total() == 0 {
		wrong = append(wrong, errors.New("there was nothing to catch"))
	}
	for _, a := range r.stale {
		wrong = append(wrong, fmt.Errorf(
			"%s:%d: nothing that survives: %s", argued, a.line, a.text,
		))
	}
	if r.score() < least {
		wrong = append(wrong, fmt.Errorf("the score %.1f %% is under %g %%", r.score(), least))
	}
	return errors.Join(wrong...)
}
