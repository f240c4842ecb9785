// SPDX-License-Identifier: Apache-2.0

package pagepart

import (
	"os"
	"regexp"
	"testing"
)

var ofSteps = regexp.MustCompile("(?ms)^   ```sh\n(.*?)^   ```$")

// Commands returns what a page tells its reader to type in the numbered steps of a section, which
// is not the page's last: the blocks of shell commands, in order.
func Commands(t testing.TB, page, section string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	heading := regexp.MustCompile(`(?ms)^## ` + regexp.QuoteMeta(section) + `$(.*?)^## `)
	part := heading.FindSubmatch(text)
	if part == nil {
		t.Fatalf("%s has no section %q with another behind it", page, section)
	}
	for _, m := range ofSteps.FindAllSubmatch(part[1], -1) {
		blocks = append(blocks, string(m[1]))
	}
	return blocks
}
