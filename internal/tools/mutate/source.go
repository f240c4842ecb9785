// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// source is a package that is to be broken, without its tests.
type source struct {
	dir   string // where its files are
	fset  *token.FileSet
	info  types.Info
	files []file
}

type file struct {
	path string
	text []byte
	tree *ast.File
}

// load reads and checks a package of the module in dir. Types are known, so that a duration can be
// told from a number.
func load(dir, pattern string) (*source, error) {
	packages, err := list(dir, pattern)
	if err != nil {
		return nil, err
	}
	target := packages[len(packages)-1] // what it imports comes before it
	if target.DepOnly || len(packages) > 1 && !packages[len(packages)-2].DepOnly {
		return nil, fmt.Errorf("%s is not one package", pattern)
	}
	s := &source{
		dir:  target.Dir,
		fset: token.NewFileSet(),
		info: types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Uses: map[*ast.Ident]types.Object{},
			Defs: map[*ast.Ident]types.Object{},
		},
	}
	var trees []*ast.File
	for _, name := range target.GoFiles {
		path := filepath.Join(target.Dir, name)
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		tree, err := parser.ParseFile(s.fset, path, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		s.files, trees = append(s.files, file{path, text, tree}), append(trees, tree)
	}
	exports := map[string]string{}
	for _, p := range packages {
		exports[p.ImportPath] = p.Export
	}
	config := types.Config{Importer: importer.ForCompiler(
		s.fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) },
	)}
	if _, err := config.Check(target.ImportPath, s.fset, trees, &s.info); err != nil {
		return nil, err
	}
	return s, nil
}

// listed is what is read of go list's answer.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

func list(dir, pattern string) ([]listed, error) {
	command := exec.Command(
		"go", "list", "-deps", "-export", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", pattern,
	)
	command.Dir = dir
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go list %s: %w", pattern, err)
	}
	var packages []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := d.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		packages = append(packages, p)
	}
	if len(packages) == 0 {
		return nil, fmt.Errorf("%s is no package", pattern)
	}
	return packages, nil
}
