// SPDX-License-Identifier: Apache-2.0

package layout

import (
	"go/ast"
	"go/parser"
	"go/scanner"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// columns is how wide a line of Go may be, so that two files fit beside each other on a screen.
const columns = 100

func TestNoLineOfGoIsTooWide(t *testing.T) {
	files := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(d.Name(), ".") && path != root
		if d.IsDir() && (hidden || d.Name() == "testdata" || d.Name() == "vendor") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		wide, err := wideLines(path, string(source))
		for _, line := range wide {
			t.Errorf("%s:%d: more than %d columns", path, line, columns)
		}
		return err
	})
	require.NoError(t, err)
	require.Greater(t, files, 100, "this test looks in the wrong place")
}

// Tables and programs in documentation comments are scrolled by pkg.go.dev where they are wider
// than its column. A tab within one counts as four columns.
func TestTablesInDocumentationFitTheirPage(t *testing.T) {
	found := 0
	for _, p := range goList(t, "./...") {
		for _, name := range p.GoFiles {
			source, err := os.ReadFile(filepath.Join(p.Dir, name))
			require.NoError(t, err)
			for i, line := range strings.Split(string(source), "\n") {
				if text, ok := strings.CutPrefix(line, "//\t"); ok {
					found++
					assert.LessOrEqual(
						t, width(text), tableWidth, "%s/%s:%d", p.ImportPath, name, i+1,
					)
				}
			}
		}
	}
	require.Greater(t, found, 200, "this test looks for tables in the wrong way")
}

// The proof that the test above can fail, and that each exemption goes as far as it says.
func TestWideLinesAreFoundAndExemptionsAreNarrow(t *testing.T) {
	long := strings.Repeat("wide ", 20)
	for name, test := range map[string]struct {
		file, source string
		wide         []int
	}{
		"a hundred": {"a.go", "package p\n\n//" + strings.Repeat("ä", columns-2) + "\n", nil},
		"one more":  {"a.go", "package p\n\n//" + strings.Repeat("ä", columns-1) + "\n", []int{3}},
		"tabs":      {"a.go", "package p\n\n//" + strings.Repeat("\t", 25) + "\n", []int{3}},
		"string":    {"a.go", "package p\n\nconst a = \"" + long + "\"\n", []int{3}},
		"address":   {"a.go", "package p\n\n// https://example.com/" + long + "\n", nil},
		"raw":       {"a.go", "package p\n\nconst a = `\n" + long + "`\n\n//" + long + "\n", []int{6}},
		"one raw":   {"a.go", "package p\n\nvar a = f(`" + long + "`, `" + long + "`)\n", nil},
		"list":      {"a.go", "package p\n\nvar a = []string{\n\t\"" + long + "\",\n}\n", []int{4}},
		"in a test": {"a_test.go", "package p\n\nvar a = []string{\n\t\"" + long + "\",\n}\n", nil},
		"fields":    {"a_test.go", "package p\n\nvar a = T{\n\tB: \"" + long + "\",\n}\n", []int{4}},
		"packed": {
			"a_test.go", "package p\n\nvar a = []string{\n\t\"a\", \"" + long + "\",\n}\n",
			[]int{4},
		},
		"row": {
			"a.go", "package p\n\nvar a = []T{\n\t{\"" + long + "\"},\n\t{\"b\"},\n}\n", nil,
		},
		"row of a map": {
			"a.go", "package p\n\nvar a = map[T]T{\n\tb: {\"" + long + "\"},\n\tc: {},\n}\n", nil,
		},
		"row within a row": {
			"a.go", "package p\n\nvar a = [][]T{{\n\t{\"" + long + "\"},\n\t{\"b\"},\n}}\n", nil,
		},
		"only row": {"a.go", "package p\n\nvar a = []T{\n\t{\"" + long + "\"},\n}\n", []int{4}},
		"output": {
			"a_test.go",
			"package p\n\nfunc Example() {\n\t// " + long + "\n\t// Output:\n\t// " +
				long + "\n}\n",
			[]int{4},
		},
	} {
		wide, err := wideLines(test.file, test.source)
		require.NoError(t, err, name)
		assert.Equal(t, test.wide, wide, name)
	}
}

// wideLines returns the numbers of the lines that are too wide, a tab counting as 4 columns, but
// for those that could not be broken or would not be read more easily: lines with an address, and
// with an example's expected output; lines that only their raw strings make too wide; and rows of
// tables.
//
// A row of a table is an element of a slice, array or map literal that has a line to itself. In a
// test every such element is one. Elsewhere it must be a composite literal, as another element of
// the same literal is.
func wideLines(name, source string) ([]int, error) {
	var wide []int
	lines := strings.Split(source, "\n")
	for i, line := range lines {
		if !strings.Contains(line, "://") && width(line) > columns {
			wide = append(wide, i+1)
		}
	}
	if wide == nil {
		return nil, nil
	}
	fset := token.NewFileSet()
	mode := parser.ParseComments | parser.SkipObjectResolution
	file, err := parser.ParseFile(fset, name, source, mode)
	if err != nil {
		return nil, err
	}
	e := exemptions{
		fset: fset, test: strings.HasSuffix(name, "_test.go"), code: codeOf(source),
		raw: map[int]int{}, exempt: map[int]bool{},
	}
	e.outputs(file)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			e.rawString(n)
		case *ast.CompositeLit:
			e.table(n, n.Type)
		}
		return true
	})
	var found []int
	for _, n := range wide {
		if !e.exempt[n] && width(lines[n-1])-e.raw[n] > columns {
			found = append(found, n)
		}
	}
	return found, nil
}

func width(line string) int {
	return utf8.RuneCountInString(line) + 3*strings.Count(line, "\t")
}

// exemptions is what may be wide in one file.
type exemptions struct {
	fset   *token.FileSet
	test   bool
	code   map[int]lineSpan
	raw    map[int]int // by line: the width of the raw strings that are on it as a whole
	exempt map[int]bool
}

// lineSpan is where the code of a line begins and ends, as offsets in the file.
type lineSpan struct{ first, last int }

// codeOf returns what each line has besides comments, and besides a comma at the end.
func codeOf(source string) map[int]lineSpan {
	fset := token.NewFileSet()
	file := fset.AddFile("", -1, len(source))
	var s scanner.Scanner
	s.Init(file, []byte(source), nil, 0)
	lines := map[int]lineSpan{}
	for {
		pos, tok, literal := s.Scan()
		if tok == token.EOF {
			return lines
		}
		if literal == "\n" { // a semicolon that is not written
			continue
		}
		line, offset := file.Line(pos), file.Offset(pos)
		if literal == "" {
			literal = tok.String()
		}
		end := offset + len(literal)
		known, ok := lines[line]
		switch {
		case !ok:
			lines[line] = lineSpan{offset, end}
		case tok != token.COMMA:
			lines[line] = lineSpan{known.first, end}
		}
	}
}

func (e *exemptions) line(p token.Pos) int { return e.fset.Position(p).Line }

var expected = regexp.MustCompile(`(?i)^//\s*(unordered )?output:`)

func (e *exemptions) outputs(file *ast.File) {
	for _, group := range file.Comments {
		found := false
		for _, comment := range group.List {
			found = found || e.test && expected.MatchString(comment.Text)
			e.exempt[e.line(comment.Pos())] = found
		}
	}
}

func (e *exemptions) rawString(n *ast.BasicLit) {
	if n.Kind != token.STRING || n.Value[0] != '`' {
		return
	}
	from, to := e.line(n.Pos()), e.line(n.End())
	if from == to {
		e.raw[from] += width(n.Value)
		return
	}
	for line := from; line <= to; line++ {
		e.exempt[line] = true
	}
}

// table exempts the rows of a literal. Its type is handed down, since literals within literals may
// leave theirs out.
func (e *exemptions) table(literal *ast.CompositeLit, typ ast.Expr) {
	if pointer, ok := typ.(*ast.StarExpr); ok { // the type of an element, left out
		typ = pointer.X
	}
	var inner ast.Expr
	switch typ := typ.(type) {
	case *ast.ArrayType:
		inner = typ.Elt
	case *ast.MapType:
		inner = typ.Value
	default:
		return
	}
	composites := 0
	for _, element := range literal.Elts {
		if row := composite(element); row != nil {
			composites++
			if row.Type == nil {
				e.table(row, inner)
			}
		}
	}
	for _, element := range literal.Elts {
		if !e.test && (composites < 2 || composite(element) == nil) {
			continue
		}
		from, to := e.fset.Position(element.Pos()), e.fset.Position(element.End())
		if from.Line == to.Line && e.code[from.Line] == (lineSpan{from.Offset, to.Offset}) {
			e.exempt[from.Line] = true
		}
	}
}

// composite is the literal that an element of another one is, or nil.
func composite(element ast.Expr) *ast.CompositeLit {
	if pair, ok := element.(*ast.KeyValueExpr); ok {
		element = pair.Value
	}
	if pointer, ok := element.(*ast.UnaryExpr); ok {
		element = pointer.X
	}
	literal, _ := element.(*ast.CompositeLit)
	return literal
}
