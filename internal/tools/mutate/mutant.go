// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"path/filepath"
	"strings"
)

// mutant is the code, broken in one place.
type mutant struct {
	file     string // its path
	from, to int    // what is replaced, as offsets in the file
	text     string // what stands there instead, on as many lines as before

	function     string // or the name of a type, variable or constant outside of functions
	words        string // what has been done
	line, column int
	source       string // the line it is on

	// Whether the code is compiled with this package whatever is done with it. A constant is not,
	// nor is a function with type parameters.
	compiled bool
}

// key finds a mutant again after the code around it has changed.
func (m *mutant) key() string {
	return fmt.Sprintf("%s:%s: %s", filepath.Base(m.file), m.function, m.words)
}

// mutants returns every mutant of a package, in the order of its code.
func (s *source) mutants() []mutant {
	var all []mutant
	for _, f := range s.files {
		for _, declaration := range f.tree.Decls {
			b := breaker{source: s, file: f}
			ast.PreorderStack(declaration, nil, b.visit)
			all = append(all, b.made...)
		}
	}
	number(all)
	return all
}

// number tells those apart that have been described in the same words.
func number(all []mutant) {
	seen := map[string]int{}
	for i := range all {
		m := &all[i]
		key := m.key()
		seen[key]++
		if n := seen[key]; n > 1 {
			m.words += fmt.Sprintf(" (%d)", n)
		}
	}
}

// breaker makes the mutants of one declaration.
type breaker struct {
	*source
	file  file
	stack []ast.Node // what is around the node that is looked at, outermost first
	made  []mutant
}

func (b *breaker) offset(p token.Pos) int { return b.fset.Position(p).Offset }

// code is what stands between two positions.
func (b *breaker) code(from, to token.Pos) string {
	return string(b.file.text[b.offset(from):b.offset(to)])
}

func (b *breaker) codeOf(n ast.Node) string { return b.code(n.Pos(), n.End()) }

// replace makes a mutant.
func (b *breaker) replace(from, to token.Pos, text, words string) {
	at := b.fset.Position(from)
	start := bytes.LastIndexByte(b.file.text[:at.Offset], '\n') + 1
	line, _, _ := bytes.Cut(b.file.text[start:], []byte("\n"))
	b.made = append(b.made, mutant{
		file: b.file.path, from: at.Offset, to: b.offset(to), text: text,
		function: b.function(), words: words, compiled: b.compiled(),
		line: at.Line, column: at.Column, source: string(bytes.TrimSpace(line)),
	})
}

// How much of the code a mutant's words show.
const (
	widened = 44 // as much around what is broken as fits into this
	shown   = 72 // of anything
)

// becomes makes a mutant whose words show what is around the part that is replaced, for that alone
// often says little: 0 becomes 1. What the compiler sees may be longer than what is shown.
func (b *breaker) becomes(n ast.Node, from, to token.Pos, text, show string) {
	around := n
	for i := len(b.stack) - 1; i >= 0; i-- {
		if outer := b.stack[i]; b.widens(outer) {
			around = outer
			continue
		}
		break
	}
	left := b.leftOf(around)
	b.replace(from, to, text, fmt.Sprintf(
		"%s%s becomes %s%s", left, short(b.codeOf(around)), left,
		short(b.code(around.Pos(), from)+show+b.code(to, around.End())),
	))
}

// leftOf is what a value is assigned to, if that is one of several in a statement.
func (b *breaker) leftOf(value ast.Node) string {
	for _, outer := range b.stack {
		n, ok := outer.(*ast.AssignStmt)
		if !ok || len(n.Lhs) == 1 || len(n.Lhs) != len(n.Rhs) {
			continue
		}
		for i, right := range n.Rhs {
			if right == value {
				return short(b.codeOf(n.Lhs[i])) + " " + n.Tok.String() + " "
			}
		}
	}
	return ""
}

// widens says that a node may be shown in place of one that is part of it.
func (b *breaker) widens(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if len(n.Lhs) > 1 {
			return false
		}
	case ast.Expr, *ast.ValueSpec, *ast.Field, *ast.ReturnStmt:
	default:
		return false
	}
	return len(b.codeOf(n)) <= widened
}

// short is code on one line, without its end if it is long.
func short(code string) string {
	code = strings.Join(strings.Fields(code), " ")
	if runes := []rune(code); len(runes) > shown {
		return string(runes[:shown-1]) + "…"
	}
	return code
}

// function names the declaration that is looked at.
func (b *breaker) function() string {
	for _, n := range b.stack {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil {
				return n.Name.Name
			}
			receiver := strings.TrimLeft(b.codeOf(n.Recv.List[0].Type), "*")
			return receiver + "." + n.Name.Name
		case *ast.ValueSpec:
			return n.Names[0].Name
		case *ast.TypeSpec:
			return n.Name.Name
		}
	}
	return ""
}

func (b *breaker) compiled() bool {
	declaration, ok := b.stack[0].(*ast.FuncDecl)
	if !ok {
		return false
	}
	signature := b.info.Defs[declaration.Name].Type().(*types.Signature)
	return signature.TypeParams() == nil && signature.RecvTypeParams() == nil
}
