// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const docs = "../../docs"

var typed = regexp.MustCompile(`(?m)^go -C examples/fleet run \. (.*)$`)

// What docs/fleet.md and docs/rules.md tell people to type works, and makes the pictures that they
// show. After a change that is meant, the same commands draw them anew. The tables have a test of
// their own, and the picture of windows, which takes half a minute, is made with
// REHOME_TESTS=figures.
func TestTheDocumentsCommandsMakeTheirPictures(t *testing.T) {
	pictures := 0
	page := strings.ReplaceAll(read(t, docs+"/fleet.md")+read(t, docs+"/rules.md"), "\\\n", " ")
	for _, command := range typed.FindAllStringSubmatch(page, -1) {
		args, picture := strings.Fields(command[1]), ""
		switch {
		case args[0] == "-table":
			continue
		case args[0] == "-windows" && os.Getenv("REHOME_TESTS") != "figures":
			pictures++
			continue
		}
		drawn := ""
		for i, arg := range args {
			if name, ok := strings.CutPrefix(arg, docs+"/"); ok {
				picture = name
				drawn = filepath.Join(t.TempDir(), name)
				args[i] = drawn
			}
		}
		code, _, stderr := fleet(t, args...)
		require.Zero(t, code, "%s: %s", command[0], stderr)
		if picture != "" {
			pictures++
			same := read(t, filepath.Join(docs, picture)) == read(t, drawn)
			require.True(t, same, "docs/%s is not what this draws: %s", picture, command[0])
		}
	}
	require.Equal(t, 4, pictures)
}
