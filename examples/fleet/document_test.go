// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const docs = "../../docs"

var typed = regexp.MustCompile(`(?m)^go -C examples/fleet run \. (.*)$`)

// What docs/fleet.md tells people to type works, and makes the pictures that it shows. After a
// change that is meant, the same commands draw them anew.
func TestTheDocumentsCommandsMakeItsPictures(t *testing.T) {
	pictures := 0
	page := strings.ReplaceAll(read(t, docs+"/fleet.md"), "\\\n", " ")
	for _, command := range typed.FindAllStringSubmatch(page, -1) {
		args, picture := strings.Fields(command[1]), ""
		for i, arg := range args {
			if name, ok := strings.CutPrefix(arg, docs+"/"); ok {
				picture = name
				args[i] = filepath.Join(t.TempDir(), name)
			}
		}
		code, _, stderr := fleet(t, args...)
		require.Zero(t, code, "%s: %s", command[0], stderr)
		if picture != "" {
			pictures++
			same := read(t, filepath.Join(docs, picture)) == read(t, args[len(args)-1])
			require.True(t, same, "docs/%s is not what this draws: %s", picture, command[0])
		}
	}
	require.Equal(t, 3, pictures)
}
