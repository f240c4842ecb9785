// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// topLevel is everything that may stand beside go.mod.
var topLevel = []string{
	"cache", "examples", "hubconn", "internal", "provisioning", "retry",
	"go.mod", "go.sum", "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md",
	"docs", "doc.go", "SECURITY.md", "CODE_OF_CONDUCT.md",
	"Makefile", "staticcheck.conf", "Containerfile", "compose.yaml", ".goreleaser.yaml",
	".ci", ".github", ".editorconfig", ".gitattributes", ".gitignore",
}

// What git and builds leave there; .gitignore keeps it out of the tree.
var leftovers = []string{".git", "bin", "dist"}

func TestTopLevelIsWhatTheGroundPlanSays(t *testing.T) {
	for _, name := range atTopLevel(t) {
		assert.Contains(t, topLevel, name)
	}
	for _, name := range []string{
		"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/run",
	} {
		assert.FileExists(t, filepath.Join(root, name))
	}
}

// atTopLevel lists what stands beside go.mod. Where git can tell, that is what it tracks: a file
// that somebody has left lying about is not part of the project. A copy without its history, such
// as a downloaded archive, has nothing else in it, but for what builds leave there.
func atTopLevel(t *testing.T) []string {
	t.Helper()
	var names []string
	if _, err := os.Stat(filepath.Join(root, ".git")); err == nil {
		cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
		cmd.Dir = root
		if out, err := cmd.Output(); err == nil && len(out) > 0 {
			for path := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
				name, _, _ := strings.Cut(path, "/")
				names = append(names, name)
			}
			slices.Sort(names)
			return slices.Compact(names)
		}
	}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		name := e.Name()
		if strings.HasSuffix(name, ".test") || strings.HasSuffix(name, ".out") {
			continue // of go test -c and its profiles
		}
		if !slices.Contains(leftovers, name) {
			names = append(names, name)
		}
	}
	return names
}

// What the root module may require. Anything heavier lives in a nested module.
var requirements = []string{
	backoff, paho, websocket, testify, // the last for tests alone
	"go.yaml.in/yaml/v3", "golang.org/x/net", "golang.org/x/sync", // brought along
}

func TestModuleRequiresOnlyWhatItIsBuiltOn(t *testing.T) {
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
		Replace, Exclude []any
	}
	require.NoError(t, json.Unmarshal(runGo(t, nil, "mod", "edit", "-json"), &mod))
	for _, r := range mod.Require {
		assert.Contains(t, requirements, r.Path, "go.mod")
	}
	assert.Empty(t, mod.Replace, "a module with replacements cannot be installed by its users")
	assert.Empty(t, mod.Exclude)
}

func TestEveryPackageIsDocumented(t *testing.T) {
	for _, p := range goList(t, "./...") {
		name, _ := p.local()
		assert.NotEmpty(t, p.Doc, "%s has no package comment", name)
		if !strings.HasPrefix(name, "examples/") {
			assert.Contains(t, p.GoFiles, "doc.go", name)
		}
	}
}

// A file is one idea and named for it.
func TestNoFileOrPackageIsNamedForNothing(t *testing.T) {
	for _, p := range goList(t, "./...") {
		for _, name := range append(p.GoFiles, filepath.Base(p.Dir)) {
			switch strings.TrimSuffix(name, ".go") {
			case "util", "utils", "common", "helper", "helpers", "types", "misc":
				t.Errorf("%s: %s says nothing of what is in it", p.ImportPath, name)
			}
		}
	}
}
