// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	mention = regexp.MustCompile(`\[?\b[A-Z]\w*\.[A-Z]\w*\b\]?`)
	docLink = regexp.MustCompile(`\[([A-Z]\w*(?:\.[A-Z]\w*)?)\]`)
)

// A reader of a package's page follows a method's name: what the page names is a link. And what is
// in brackets leads somewhere, for else the brackets are shown: a type, a function, a constant or a
// method of the package. A field cannot be linked to from its own package.
func TestPackagePagesLinkWhatTheyName(t *testing.T) {
	links := 0
	for _, p := range goList(t, "./...") {
		name, _ := p.local()
		if strings.HasPrefix(name, "internal/") || strings.HasPrefix(name, "examples/") {
			continue
		}
		methods, symbols := exported(t, p)
		prose := ""
		for line := range strings.Lines(p.packageComment(t)) {
			if !strings.HasPrefix(line, "\t") {
				prose += line
			}
		}
		for _, m := range mention.FindAllString(prose, -1) {
			assert.False(
				t, methods[m], "%s: the package comment names %s: write [%[2]s], a link", name, m,
			)
		}
		for _, m := range docLink.FindAllStringSubmatch(prose, -1) {
			links++
			assert.True(t, symbols[m[1]], "%s: [%s] leads nowhere, so it is no link", name, m[1])
		}
	}
	require.Greater(t, links, 20, "this test looks for links in the wrong way")
}

// packageComment is the text of a package's comment.
func (p listed) packageComment(t *testing.T) string {
	t.Helper()
	file := filepath.Join(p.Dir, "doc.go")
	parsed, err := parser.ParseFile(
		token.NewFileSet(), file, nil, parser.ParseComments|parser.PackageClauseOnly,
	)
	require.NoError(t, err)
	return parsed.Doc.Text()
}

// exported are a package's methods, and all that a link of its own comment may lead to.
func exported(t *testing.T, p listed) (methods, symbols map[string]bool) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	for _, name := range p.GoFiles {
		file, err := parser.ParseFile(fset, filepath.Join(p.Dir, name), nil, parser.ParseComments)
		require.NoError(t, err)
		files = append(files, file)
	}
	page, err := doc.NewFromFiles(fset, files, p.ImportPath)
	require.NoError(t, err)
	methods, symbols = map[string]bool{}, map[string]bool{}
	values := func(values []*doc.Value) {
		for _, v := range values {
			for _, name := range v.Names {
				symbols[name] = true
			}
		}
	}
	funcs := func(funcs []*doc.Func) {
		for _, f := range funcs {
			symbols[f.Name] = true
		}
	}
	values(page.Consts)
	values(page.Vars)
	funcs(page.Funcs)
	for _, typ := range page.Types {
		symbols[typ.Name] = true
		values(typ.Consts)
		values(typ.Vars)
		funcs(typ.Funcs)
		for _, m := range typ.Methods {
			methods[typ.Name+"."+m.Name], symbols[typ.Name+"."+m.Name] = true, true
		}
	}
	return methods, symbols
}

// An example is run by pkg.go.dev if it needs nothing but what is in its own file.
func TestExamplesOfTheDeviceRunOnAPage(t *testing.T) {
	file, err := parser.ParseFile(
		token.NewFileSet(), filepath.Join(root, "provisioning", "example_test.go"), nil,
		parser.ParseComments,
	)
	require.NoError(t, err)
	runs := map[string]bool{}
	for _, e := range doc.Examples(file) {
		assert.NotNil(t, e.Play, "Example%s needs what is in another file", e.Name)
		assert.NotEmpty(t, e.Output, "Example%s has no output to compare", e.Name)
		runs[e.Name] = true
	}
	for _, name := range []string{
		"Device_Run", "Device_Connect", "Device_Assignment", "Device_Reprovision",
		"Device_Status", "Trace", "Device_x509", "Device_gateway",
	} {
		assert.True(t, runs[name], "no Example%s", name)
	}
}
