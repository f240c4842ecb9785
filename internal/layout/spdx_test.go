// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// licenceLine begins each source file, so that one which is copied elsewhere says under what.
const licenceLine = "SPDX-License-Identifier: Apache-2.0"

// initScript is a file of Buildroot's init: it has no ending.
var initScript = regexp.MustCompile(`^S\d\d`)

func TestEachSourceFileNamesItsLicence(t *testing.T) {
	seen := 0
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		if e.IsDir() {
			if slices.Contains([]string{".git", "node_modules", "bin", "dist"}, e.Name()) ||
				name == "internal/tools/mutate/testdata" { // tests know its lines by number
				return fs.SkipDir
			}
			return nil
		}
		script := strings.HasPrefix(name, ".ci/") || initScript.MatchString(e.Name())
		ending := filepath.Ext(name)
		if !script && !slices.Contains([]string{
			".go", ".js", ".css", ".html", ".py", ".sh", ".mk", ".bb",
		}, ending) {
			return nil
		}
		seen++
		lines := strings.SplitN(read(t, path)+"\n\n", "\n", 3)
		at := slices.IndexFunc(lines[:2], func(s string) bool {
			return strings.HasSuffix(s, licenceLine) ||
				strings.HasSuffix(strings.TrimRight(s, "*/-> "), licenceLine)
		})
		if !assert.GreaterOrEqual(
			t, at, 0, "%s does not name its licence: run bash .ci/spdx", name,
		) {
			return nil
		}
		if ending == ".go" {
			assert.Equal(t, 0, at, name)
			assert.Empty(t, lines[1], "%s: the line is no part of the documentation", name)
		}
		return nil
	}))
	assert.Greater(t, seen, 100, "this test looks at the wrong files")
}
