// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	module = "github.com/rehome-iot/rehome"
	root   = "../.." // of the module, seen from here
)

// listed is what these tests read of go list's answer.
type listed struct {
	ImportPath     string
	Name           string
	Dir            string
	Doc            string
	Export         string
	Standard       bool
	ForTest        string
	GoFiles        []string
	CgoFiles       []string
	SFiles         []string
	IgnoredGoFiles []string // for other systems
	Imports        []string
	TestImports    []string
	XTestImports   []string
}

// local is the path within the module, "." of its root, and whether the package is in it.
func (p listed) local() (string, bool) {
	if p.ImportPath == module {
		return ".", true
	}
	return strings.CutPrefix(p.ImportPath, module+"/")
}

// goList runs go list in the module's root.
func goList(t *testing.T, args ...string) []listed {
	t.Helper()
	var env []string
	if !slices.Contains(args, "-export") { // which compiles, and there may be no C compiler
		env = []string{"CGO_ENABLED=1"} // so that cgo code shows
	}
	out := runGo(t, env, append([]string{"list", "-json"}, args...)...)
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		packages = append(packages, p)
	}
	require.NotEmpty(t, packages, "go list %v lists nothing", args)
	return packages
}

// runGo runs the go command in the module's root and returns what it printed.
func runGo(t *testing.T, env []string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoError(t, err, "go %s\n%s%s", strings.Join(args, " "), stderr.String(), out)
	return out
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}
