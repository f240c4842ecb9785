// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"
)

// forge reads a file of .github.
func forge(t *testing.T, name string, into any) string {
	t.Helper()
	text := read(t, filepath.Join(root, ".github", name))
	require.NoError(t, yaml.Unmarshal([]byte(text), into), name)
	return text
}

func TestDependabotKnowsEveryModule(t *testing.T) {
	var config struct {
		Version int
		Updates []struct {
			Ecosystem string `yaml:"package-ecosystem"`
			Directory string
			Schedule  struct{ Interval string }
		}
	}
	forge(t, "dependabot.yml", &config)
	assert.Equal(t, 2, config.Version)
	var listed []string
	for _, u := range config.Updates {
		assert.NotEmpty(t, u.Schedule.Interval, u.Directory)
		listed = append(listed, u.Ecosystem+" "+u.Directory)
	}
	there := []string{"github-actions /"}
	ecosystems := map[string]string{"go.mod": "gomod", "package.json": "npm"}
	require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() &&
			slices.Contains([]string{".git", "node_modules", "bin", "dist"}, e.Name()):
			return fs.SkipDir
		case ecosystems[e.Name()] != "":
			in, err := filepath.Rel(root, filepath.Dir(path))
			there = append(there, ecosystems[e.Name()]+" "+
				strings.TrimSuffix("/"+filepath.ToSlash(in), "."))
			return err
		}
		return nil
	}))
	assert.ElementsMatch(t, there, listed)
}

func TestWorkflowsRunTheStepsOfEverybody(t *testing.T) {
	type workflow struct {
		Jobs map[string]struct {
			Uses  string
			Needs string
			Steps []struct{ Run string }
		}
	}
	var ci, release workflow
	text := forge(t, "workflows/ci.yml", &ci)
	steps := ci.Jobs["run"].Steps
	require.NotEmpty(t, steps)
	assert.Equal(t, "bash .ci/run", steps[len(steps)-1].Run)
	assert.Contains(t, text, "\n  workflow_call:", "a release uses it")

	forge(t, "workflows/release.yml", &release)
	assert.Equal(t, "./.github/workflows/ci.yml", release.Jobs["check"].Uses)
	assert.Equal(t, "check", release.Jobs["release"].Needs)
	steps = release.Jobs["release"].Steps
	assert.Contains(t, steps[len(steps)-1].Run, "goreleaser release --clean")
}

func TestIssuesAskForWhatIsNeededAndForNoSecrets(t *testing.T) {
	for name, wanted := range map[string][]string{
		"ISSUE_TEMPLATE/bug.yml": {
			"Status", "From the last good connection on", "Tracking ID", "No keys, tokens",
		},
		"ISSUE_TEMPLATE/feature.yml": {"What you want to do"},
	} {
		var form struct {
			Name, Description string
			Body              []struct {
				Type, ID   string
				Attributes map[string]any
			}
		}
		text := forge(t, name, &form)
		assert.NotEmpty(t, form.Name, name)
		assert.NotEmpty(t, form.Description, name)
		for _, field := range form.Body {
			assert.True(
				t, field.ID != "" || field.Type == "markdown", "%s: a field has no id", name,
			)
			assert.NotEmpty(t, field.Attributes, name)
		}
		for _, words := range wanted {
			assert.Contains(t, text, words, name)
		}
	}
}
