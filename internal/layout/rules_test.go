// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What the decision may import. Nothing in it leads to a network, a file or another goroutine.
var pureImports = []string{"errors", "math", "strings", "time", module + "/retry"}

// What of package time reads the clock, waits for it, or starts something that does.
var clocks = []string{
	"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until",
}

func TestTheDecisionIsPure(t *testing.T) {
	files := parseDir(t, filepath.Join(root, "internal", "rules"))
	require.NotEmpty(t, files)
	for name, file := range files {
		for _, spec := range file.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.Contains(t, pureImports, path, "%s", name)
			assert.Nil(
				t, spec.Name, "%s: import under another name would hide what is called", name,
			)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s starts a goroutine", name)
			case *ast.ChanType, *ast.SelectStmt, *ast.SendStmt:
				t.Errorf("%s uses a channel", name)
			case *ast.SelectorExpr:
				if pkg, ok := n.X.(*ast.Ident); ok && pkg.Name == "time" {
					assert.NotContains(t, clocks, n.Sel.Name, "%s reads the clock", name)
				}
			}
			return true
		})
	}
	for _, p := range goList(t, "-deps", "./internal/rules") {
		for _, network := range []string{"net", "net/http", "crypto/tls", "os/exec", paho} {
			assert.NotEqual(t, network, p.ImportPath, "the decision reaches the network")
		}
	}
}

// parseDir returns the files of a package, without its tests.
func parseDir(t *testing.T, dir string) map[string]*ast.File {
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	files := map[string]*ast.File{}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		path := filepath.Join(dir, e.Name())
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		require.NoError(t, err)
		files[e.Name()] = file
	}
	return files
}
