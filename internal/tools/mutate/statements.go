// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
)

// statement breaks what is not an expression.
func (b *breaker) statement(n ast.Node) {
	switch n := n.(type) {
	case *ast.IfStmt:
		b.condition(n.Cond, true)
		b.condition(n.Cond, false)
	case *ast.ForStmt:
		// One that is always true makes a loop that never ends, which says nothing of the tests.
		if n.Cond != nil {
			b.condition(n.Cond, false)
		}
	case *ast.CaseClause:
		b.caseClause(n)
	case *ast.AssignStmt:
		b.assignment(n)
	default:
		if s, ok := n.(ast.Stmt); ok && removable(s) {
			b.remove(s)
		}
	}
}

// removable says that a statement is one that can be left out as a whole.
func removable(n ast.Stmt) bool {
	switch n := n.(type) {
	case *ast.ExprStmt:
		_, call := n.X.(*ast.CallExpr)
		return call
	case *ast.IncDecStmt, *ast.GoStmt, *ast.DeferStmt:
		return true
	case *ast.AssignStmt:
		return n.Tok != token.DEFINE && len(n.Lhs) == 1 && !isBlank(n.Lhs[0])
	}
	return false
}

func isBlank(e ast.Expr) bool {
	name, ok := e.(*ast.Ident)
	return ok && name.Name == "_"
}

// condition makes one that is always the same. The compiler still sees what it was, since a
// variable or a package may be used nowhere else, but it is never looked at.
func (b *breaker) condition(e ast.Expr, always bool) {
	if b.info.Types[e].Value != nil {
		return
	}
	operator := "&&"
	if always {
		operator = "||"
	}
	b.replace(e.Pos(), e.End(), fmt.Sprintf("%t %s (%s)", always, operator, b.codeOf(e)),
		fmt.Sprintf("condition %s becomes %t", short(b.codeOf(e)), always))
}

// inList says that a statement stands among others, and not in the head of a loop or a branch.
func (b *breaker) inList() bool {
	switch b.parent().(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
		return true
	}
	return false
}

// remove leaves out a statement, if it is not the only one of a branch: that it is not taken is
// another mutant.
func (b *breaker) remove(n ast.Stmt) {
	if b.inList() && !b.isWholeBranch() {
		b.replace(n.Pos(), n.End(), "if false { "+b.codeOf(n)+" }",
			short(b.codeOf(n))+" is removed")
	}
}

func (b *breaker) isWholeBranch() bool {
	block, ok := b.parent().(*ast.BlockStmt)
	if !ok || len(block.List) != 1 {
		return false
	}
	branch, ok := b.stack[len(b.stack)-2].(*ast.IfStmt)
	if !ok || branch.Body != block || branch.Else != nil || branch.Init != nil {
		return false
	}
	calls := false // which may do something besides, so that the condition does matter
	ast.Inspect(branch.Cond, func(n ast.Node) bool {
		_, call := n.(*ast.CallExpr)
		calls = calls || call
		return true
	})
	return !calls
}

// assignment leaves out each one of a statement. A new variable begins with zero instead.
func (b *breaker) assignment(n *ast.AssignStmt) {
	switch {
	case n.Tok == token.DEFINE:
		for i := range n.Lhs {
			if len(n.Lhs) == len(n.Rhs) {
				b.beginWithZero(n, i)
			}
		}
	case removable(n):
		b.remove(n)
	case len(n.Lhs) > 1:
		for i, left := range n.Lhs {
			if isBlank(left) {
				continue
			}
			right := n.Rhs[0] // a call with several results
			if len(n.Rhs) == len(n.Lhs) {
				right = n.Rhs[i]
			}
			b.replace(left.Pos(), left.End(), "_", fmt.Sprintf(
				"%s = %s is removed", b.codeOf(left), short(b.codeOf(right)),
			))
		}
	}
}

// beginWithZero does so where zero can be written without naming a type. A number and a bool that
// are written there are broken as such.
func (b *breaker) beginWithZero(n *ast.AssignStmt, i int) {
	name, ok := n.Lhs[i].(*ast.Ident)
	if _, literal := n.Rhs[i].(*ast.BasicLit); !ok || literal || isBlank(name) || !b.inList() {
		return
	}
	zero := zeroOf(b.info.TypeOf(name))
	right := b.codeOf(n.Rhs[i])
	if zero == "" || right == "true" || right == "false" || right == "nil" {
		return
	}
	b.replace(n.End(), n.End(), fmt.Sprintf("; %s = %s", name.Name, zero),
		fmt.Sprintf("%[1]s := %[2]s becomes %[1]s := %[3]s", name.Name, short(right), zero))
}

func zeroOf(t types.Type) string {
	switch u := t.Underlying().(type) {
	case *types.Basic:
		switch info := u.Info(); {
		case info&types.IsBoolean != 0:
			return "false"
		case info&types.IsNumeric != 0:
			return "0"
		case info&types.IsString != 0:
			return `""`
		}
	case *types.Pointer, *types.Slice, *types.Map, *types.Chan, *types.Signature, *types.Interface:
		return "nil"
	}
	return ""
}

// caseClause breaks the conditions of a switch without a tag, and empties the body of any, if that
// is more than one statement that is removed anyhow.
func (b *breaker) caseClause(n *ast.CaseClause) {
	if s, ok := b.stack[len(b.stack)-2].(*ast.SwitchStmt); ok && s.Tag == nil {
		for _, e := range n.List {
			b.condition(e, true)
			b.condition(e, false)
		}
	}
	if len(n.Body) == 0 || len(n.Body) == 1 && removable(n.Body[0]) {
		return
	}
	first, last := n.Body[0], n.Body[len(n.Body)-1]
	if branch, ok := last.(*ast.BranchStmt); ok && branch.Tok == token.FALLTHROUGH {
		return // it may not stand in a block
	}
	head := short(b.code(n.Pos(), n.Colon))
	b.replace(first.Pos(), last.End(), "if false { "+b.code(first.Pos(), last.End())+" }",
		"the body of "+head+" is emptied")
}
