package layout

import (
	"encoding/json"
	"os"
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
	"Makefile", "staticcheck.conf", ".ci", ".github", ".editorconfig", ".gitattributes", ".gitignore",
}

// What git and builds leave there; .gitignore keeps it out of the tree.
var leftovers = []string{".git", "bin", "dist"}

func TestTopLevelIsWhatTheGroundPlanSays(t *testing.T) {
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".test") || strings.HasSuffix(e.Name(), ".out") {
			continue // of go test -c and its profiles
		}
		assert.Contains(t, slices.Concat(topLevel, leftovers), e.Name())
	}
	for _, name := range []string{"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile", ".ci/run"} {
		assert.FileExists(t, filepath.Join(root, name))
	}
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
