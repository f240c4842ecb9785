// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"encoding/json"
	"fmt"
	"go/format"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a person pastes has to compile, and a test that is printed has to pass. Each program is laid
// over the module as a package of its own: nothing is written into the tree.
func TestProgramsInTheDocumentsCompileAndTheirTestsPass(t *testing.T) {
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	dir := t.TempDir()
	laid := map[string]string{}
	var packages, tests []string
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if b.language != "go" {
				continue
			}
			at := fmt.Sprintf("%s:%d", page.name, b.line)
			formatted, err := format.Source([]byte(b.text))
			require.NoError(t, err, at)
			assert.Equal(t, string(formatted), b.text, "%s: gofmt", at)
			assert.True(
				t, strings.HasPrefix(b.text, "package "),
				"%s: print a whole file, so that it can be compiled", at,
			)

			pkg, name := fmt.Sprintf("program%d", len(laid)), "program.go"
			if strings.Contains(b.text, "testing.T") {
				name = "program_test.go"
				tests = append(tests, "./internal/layout/"+pkg)
			} else {
				packages = append(packages, "./internal/layout/"+pkg)
			}
			source := filepath.Join(dir, pkg+name)
			require.NoError(t, os.WriteFile(source, []byte(b.text), 0o600))
			laid[filepath.Join(here, pkg, name)] = source
		}
	}
	require.GreaterOrEqual(t, len(packages), 2, "README.md and docs/hub.md have a program each")
	require.NotEmpty(t, tests, "docs/testing.md has a test")

	overlay := filepath.Join(dir, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": laid})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, replace, 0o600))
	runGo(t, nil, append([]string{"build", "-o", os.DevNull, "-overlay", overlay}, packages...)...)
	for i, pkg := range tests {
		binary := filepath.Join(dir, fmt.Sprintf("test%d", i))
		runGo(t, nil, "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, pkg)
		out, err := exec.CommandContext(t.Context(), binary, "-test.v").CombinedOutput()
		require.NoError(t, err, "%s", out)
		assert.Contains(t, string(out), "--- PASS: Test")
	}
}

// A first program that is silent where the key is wrong costs an afternoon: each that is shown has
// a logger. Tests have other ways to see.
func TestEveryDeviceThatIsShownHasALogger(t *testing.T) {
	shown := map[string]string{}
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if b.language == "go" && !strings.Contains(b.text, "testing.T") {
				shown[fmt.Sprintf("%s:%d", page.name, b.line)] = b.text
			}
		}
	}
	for _, p := range goList(t, "./...") {
		if name, _ := p.local(); !strings.HasPrefix(name, "examples/") {
			shown[name+"/doc.go"] = p.packageComment(t)
		}
	}
	devices := 0
	for at, text := range shown {
		if strings.Contains(text, "provisioning.Device{") {
			devices++
			assert.Contains(t, text, "Logger:", at)
		}
	}
	require.GreaterOrEqual(t, devices, 3, "this test looks for programs in the wrong way")
}
