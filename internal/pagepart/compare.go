// SPDX-License-Identifier: Apache-2.0

package pagepart

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write into the project's pages what the tests see")

// Compare fails the test where a part of a page is another than what was seen, or makes it so with
// -update. It is not safe for concurrent use on one page.
func Compare(t testing.TB, page, part, seen string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	updated, wrong := replace(string(text), part, seen)
	switch {
	case updated == "":
		t.Fatalf("%s has no part %s: <!-- %s --> and <!-- end of %s --> around it", page, part,
			part, part)
	case *update:
		if err := os.WriteFile(page, []byte(updated), 0o644); err != nil {
			t.Fatal(err)
		}
	case len(wrong) > 0:
		t.Errorf("%s, part %s, is another than what is seen; if that is right, write it: "+
			"go test with -update\n%s", page, part, strings.Join(wrong, "\n"))
	}
}

// replace returns a page whose part is what was seen, with an empty line around it, and the lines
// that were another. Without such a part it returns no page.
func replace(text, part, seen string) (updated string, wrong []string) {
	begin, end := "<!-- "+part+" -->\n", "<!-- end of "+part+" -->\n"
	before, rest, begins := strings.Cut(text, begin)
	told, after, ends := strings.Cut(rest, end)
	if !begins || !ends {
		return "", nil
	}
	seen = "\n" + strings.Trim(seen, "\n") + "\n\n"
	return before + begin + seen + end + after, differences(told, seen)
}

// differences tells of each line that is another. Where the numbers of lines differ, all that
// follow are, and the first one is enough.
func differences(told, seen string) (wrong []string) {
	says, is := strings.Split(told, "\n"), strings.Split(seen, "\n")
	for i := range max(len(says), len(is)) {
		var a, b string
		if i < len(says) {
			a = says[i]
		}
		if i < len(is) {
			b = is[i]
		}
		if a == b && i < len(says) && i < len(is) {
			continue
		}
		wrong = append(wrong, fmt.Sprintf("the page %q\nis seen  %q", a, b))
		if len(says) != len(is) {
			return append(wrong, fmt.Sprintf("and %d lines, not %d", len(is), len(says)))
		}
	}
	return wrong
}
