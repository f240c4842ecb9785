// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTimeOutIsFoundInWhateverPiecesItIsPrinted(t *testing.T) {
	var whole, pieces, other tail
	text := "panic: test timed out after 2s\n" + strings.Repeat("goroutine 1 [running]:\n", 1000)
	for _, c := range text {
		if _, err := pieces.Write([]byte(string(c))); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := whole.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Write([]byte("panic: something else")); err != nil {
		t.Fatal(err)
	}
	if !whole.timedOut || !pieces.timedOut || other.timedOut {
		t.Error(whole.timedOut, pieces.timedOut, other.timedOut)
	}
	if len(pieces.end) > 10_000 {
		t.Error(len(pieces.end))
	}
}

// Somebody goes on editing the package while it is tried: that must look like nothing at all.
func TestPackageMayBeEditedWhileItIsTried(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("go.mod", "module example.com/a\n\ngo 1.26\n")
	write("a.go", "package a\n\nfunc Yes() bool { return true }\n")
	write("a_test.go", "package a\n\nimport \"testing\"\n\nfunc TestYes(t *testing.T) {\n"+
		"\tif !Yes() {\n\t\tt.Fatal()\n\t}\n}\n")
	s, err := load(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	mutants := s.mutants()
	mutants = append(mutants, mutants...)
	b := bench{module: dir, pattern: ".", dir: s.dir, work: t.TempDir()}
	results, err := try(t.Context(), &b, mutants, 1, func(int, result) {
		write("a.go", "package a\n\n// Yes is gone.\n")
		write("a_test.go", "no Go at all\n")
	})
	if err != nil || len(results) != 2 || results[0].verdict != caught ||
		results[1] != (result{repeated, 0}) {
		t.Error(results, err)
	}
}

func TestWhoeverGivesUpHearsOfNothingElse(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("gone")
	cancel(gone)
	b := bench{module: "..", pattern: "./mutate/testdata/tiny", work: t.TempDir()}
	if _, err := b.warmUp(ctx); err != gone {
		t.Error(err)
	}
}
