package layout

import (
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func readme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	return string(text)
}

var fenced = regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```$")

// What a person pastes has to compile, and the test printed there has to pass. Each program is laid over the module as a package of its own:
// nothing is written into the tree.
func TestProgramsInTheReadmeCompileAndTheirTestsPass(t *testing.T) {
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	dir := t.TempDir()
	programs, tests := 0, 0
	for i, block := range fenced.FindAllStringSubmatch(readme(t), -1) {
		if block[1] != "go" {
			continue
		}
		formatted, err := format.Source([]byte(block[2]))
		require.NoError(t, err)
		assert.Equal(t, string(formatted), block[2], "gofmt")

		pkg, isTest := fmt.Sprintf("readme%d", i), strings.Contains(block[2], "testing.T")
		name := "program.go"
		if isTest {
			name = "program_test.go"
		}
		source, overlay, binary := filepath.Join(dir, pkg+name), filepath.Join(dir, pkg+".json"), filepath.Join(dir, pkg)
		require.NoError(t, os.WriteFile(source, []byte(block[2]), 0o600))
		laid, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, pkg, name): source}})
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(overlay, laid, 0o600))
		if !isTest {
			programs++
			runGo(t, nil, "build", "-overlay", overlay, "-o", binary, "./internal/layout/"+pkg)
			continue
		}
		tests++
		runGo(t, nil, "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, "./internal/layout/"+pkg)
		out, err := exec.CommandContext(t.Context(), binary, "-test.v").CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: Test")
	}
	assert.Equal(t, 2, programs)
	assert.Equal(t, 1, tests)
}

var link = regexp.MustCompile(`\]\(([^):#]+)\)`)

func TestLinksWithinTheProjectLeadSomewhere(t *testing.T) {
	for _, page := range []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"} {
		text, err := os.ReadFile(filepath.Join(root, page))
		require.NoError(t, err)
		for _, m := range link.FindAllSubmatch(text, -1) {
			_, err := os.Stat(filepath.Join(root, string(m[1])))
			assert.NoError(t, err, page)
		}
	}
}
