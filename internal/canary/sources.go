// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	keyMin  = 16 // bytes of the shortest symmetric key that the services take
	keyHead = 24 // bytes of a key that have to be printed for it to count: less may be chance
)

// A key is one that a test or an example carries in its source.
type key struct {
	file string
	line int
	text string // decoded
}

// keysIn collects the keys written in the Go files below a directory: texts that the program
// encodes in base64, and texts that are base64 with its padding. Those that begin with the mark are
// found without being collected.
func keysIn(root string) ([]key, error) {
	var keys []key
	files := token.NewFileSet()
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		parsed, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			if text := keyAt(n); len(text) >= keyMin {
				keys = append(keys, key{path, files.Position(n.Pos()).Line, text})
			}
			return true
		})
		return nil
	})
	return keys, err
}

// keyAt is the key that a piece of source makes, if it makes one.
func keyAt(n ast.Node) string {
	switch n := n.(type) {
	case *ast.CallExpr: // base64.StdEncoding.EncodeToString([]byte("…"))
		if f, ok := n.Fun.(*ast.SelectorExpr); !ok || f.Sel.Name != "EncodeToString" ||
			len(n.Args) != 1 {
			return ""
		}
		if conversion, ok := n.Args[0].(*ast.CallExpr); ok && len(conversion.Args) == 1 {
			return literal(conversion.Args[0])
		}
	case *ast.BasicLit: // "…="
		text := literal(n)
		if strings.HasSuffix(text, "=") {
			decoded, err := base64.StdEncoding.DecodeString(text)
			if err == nil {
				return string(decoded)
			}
		}
	}
	return ""
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok && l.Kind == token.STRING {
		text, _ := strconv.Unquote(l.Value)
		return text
	}
	return ""
}

// formsOfAll are the forms of every key, each key once.
func formsOfAll(keys []key) []form {
	var forms []form
	seen := map[string]bool{}
	for _, k := range keys {
		head := k.text[:min(len(k.text), keyHead)]
		if !seen[head] {
			seen[head] = true
			forms = append(forms, formsOf(head)...)
		}
	}
	return forms
}
