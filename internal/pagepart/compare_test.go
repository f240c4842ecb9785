// SPDX-License-Identifier: Apache-2.0

package pagepart

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const page = "# Title\n\n<!-- a -->\n\none\ntwo\n\n<!-- end of a -->\n\n<!-- b -->\n\n" +
	"three\n\n<!-- end of b -->\n\nThe end.\n"

// failures is a test that only notes how it fails.
type failures struct {
	testing.TB
	errors, fatal []string
}

type gone struct{}

func (f *failures) Helper() {}

func (f *failures) Errorf(format string, args ...any) {
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *failures) Fatal(args ...any) { f.Fatalf("%s", fmt.Sprint(args...)) }

func (f *failures) Fatalf(format string, args ...any) {
	f.fatal = append(f.fatal, fmt.Sprintf(format, args...))
	panic(gone{})
}

// of runs Compare on a page with the text above, and returns what the page is then.
func (f *failures) of(t *testing.T, part, seen string) string {
	path := filepath.Join(t.TempDir(), "page.md")
	require.NoError(t, os.WriteFile(path, []byte(page), 0o600))
	func() {
		defer func() {
			if r := recover(); r != nil && r != any(gone{}) {
				panic(r)
			}
		}()
		Compare(f, path, part, seen)
	}()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestAPartThatSaysWhatIsSeenIsRight(t *testing.T) {
	for _, seen := range []string{"one\ntwo\n", "\none\ntwo\n\n"} {
		f := &failures{}
		assert.Equal(t, page, f.of(t, "a", seen))
		assert.Empty(t, f.errors)
		assert.Empty(t, f.fatal)
	}
}

func TestAPartThatSaysSomethingElseFailsAndStays(t *testing.T) {
	for seen, want := range map[string]string{
		"one\n2\n":         "the page \"two\"\nis seen  \"2\"",
		"one\n":            "and 4 lines, not 5",
		"one\ntwo\nthree":  "and 6 lines, not 5",
		"three\n":          "the page \"one\"\nis seen  \"three\"",
		"1\n2":             "the page \"one\"\nis seen  \"1\"\nthe page \"two\"\nis seen  \"2\"",
		"one\n\ntwo, late": "the page \"two\"\nis seen  \"\"",
	} {
		f := &failures{}
		assert.Equal(t, page, f.of(t, "a", seen), seen)
		require.Len(t, f.errors, 1, seen)
		assert.Contains(t, f.errors[0], want)
		assert.Contains(t, f.errors[0], "-update")
	}
}

func TestAPageWithoutThePartFails(t *testing.T) {
	f := &failures{}
	assert.Equal(t, page, f.of(t, "c", "one"))
	require.Len(t, f.fatal, 1)
	assert.Contains(t, f.fatal[0], "<!-- end of c -->")
}

func TestUpdateWritesThatPartAlone(t *testing.T) {
	*update = true
	defer func() { *update = false }()
	f := &failures{}
	assert.Equal(t, "# Title\n\n<!-- a -->\n\n1\n\n<!-- end of a -->\n\n<!-- b -->\n\n"+
		"three\n\n<!-- end of b -->\n\nThe end.\n", f.of(t, "a", "1\n"))
	assert.Empty(t, f.errors)
}
