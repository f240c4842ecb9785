// SPDX-License-Identifier: Apache-2.0

package main

import (
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"strconv"
)

// visit breaks a node, and says whether the nodes in it are looked at too.
func (b *breaker) visit(n ast.Node, stack []ast.Node) bool {
	b.stack = stack
	if e, ok := n.(ast.Expr); ok && b.isConstantDuration(e) {
		b.duration(e)
		return false
	}
	switch n := n.(type) {
	case *ast.ValueSpec:
		return !b.usesIota(n)
	case *ast.BinaryExpr:
		b.comparison(n)
		b.operands(n)
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			b.becomes(n, n.Pos(), n.End(), b.codeOf(n.X), b.codeOf(n.X))
		}
	case *ast.BasicLit:
		b.number(n)
	case *ast.Ident:
		b.name(n)
	case *ast.CallExpr:
		b.extreme(n)
	default:
		b.statement(n)
	}
	return true
}

var comparisons = map[token.Token]string{
	token.LSS: "<=", token.LEQ: "<", token.GTR: ">=", token.GEQ: ">",
	token.EQL: "!=", token.NEQ: "==",
}

func (b *breaker) comparison(n *ast.BinaryExpr) {
	if other, ok := comparisons[n.Op]; ok {
		end := n.OpPos + token.Pos(len(n.Op.String()))
		b.becomes(n, n.OpPos, end, other, other)
	}
}

// operands leaves out one operand of a && b && c at a time. The compiler still sees it, since a
// variable may be used nowhere else, but it is never looked at.
func (b *breaker) operands(n *ast.BinaryExpr) {
	neutral := map[token.Token]string{token.LAND: "true || ", token.LOR: "false && "}[n.Op]
	if neutral == "" || b.isOperandOf(n.Op) {
		return
	}
	for _, operand := range chain(n, n.Op) {
		code := b.codeOf(operand)
		b.replace(operand.Pos(), operand.End(), "("+neutral+"("+code+"))",
			short(code)+" is left out of "+short(b.codeOf(n)))
	}
}

// isOperandOf says that the node is part of a chain of the same operator.
func (b *breaker) isOperandOf(op token.Token) bool {
	outer, ok := b.parent().(*ast.BinaryExpr)
	return ok && outer.Op == op
}

func chain(e ast.Expr, op token.Token) []ast.Expr {
	if n, ok := e.(*ast.BinaryExpr); ok && n.Op == op {
		return append(chain(n.X, op), chain(n.Y, op)...)
	}
	return []ast.Expr{e}
}

// parent is what is directly around the node.
func (b *breaker) parent() ast.Node {
	if len(b.stack) == 0 {
		return nil
	}
	return b.stack[len(b.stack)-1]
}

// name turns true into false and back.
func (b *breaker) name(n *ast.Ident) {
	if b.info.Uses[n] == types.Universe.Lookup(n.Name) {
		switch n.Name {
		case "true":
			b.becomes(n, n.Pos(), n.End(), "false", "false")
		case "false":
			b.becomes(n, n.Pos(), n.End(), "true", "true")
		}
	}
}

// extreme turns min into max and back.
func (b *breaker) extreme(n *ast.CallExpr) {
	name, ok := n.Fun.(*ast.Ident)
	if !ok || len(n.Args) < 2 {
		return
	}
	if _, ok := b.info.Uses[name].(*types.Builtin); !ok {
		return
	}
	if other := map[string]string{"min": "max", "max": "min"}[name.Name]; other != "" {
		b.becomes(n, name.Pos(), name.End(), other, other)
	}
}

// number makes an integer one more, and halves a fraction.
func (b *breaker) number(n *ast.BasicLit) {
	switch n.Kind {
	case token.INT:
		value, err := strconv.ParseInt(n.Value, 0, 64)
		if err == nil && !b.movesBound(n) {
			text := strconv.FormatInt(value+1, 10)
			b.becomes(n, n.Pos(), n.End(), text, text)
		}
	case token.FLOAT:
		if constant.Sign(b.info.Types[n].Value) == 0 {
			b.becomes(n, n.Pos(), n.End(), "1.0", "1.0")
			return
		}
		b.becomes(n, n.Pos(), n.End(), "("+n.Value+"/2)", n.Value+"/2")
	}
}

// movesBound says that a number is the bound of a comparison whose other operator does the same to
// integers as another number: n < 4 is n <= 3.
func (b *breaker) movesBound(n *ast.BasicLit) bool {
	outer, ok := b.parent().(*ast.BinaryExpr)
	if !ok {
		return false
	}
	basic, ok := b.info.TypeOf(n).Underlying().(*types.Basic)
	if !ok || basic.Info()&types.IsInteger == 0 {
		return false
	}
	if outer.Y == ast.Expr(n) {
		return outer.Op == token.LSS || outer.Op == token.GEQ
	}
	return outer.Op == token.GTR || outer.Op == token.LEQ
}

func (b *breaker) isConstantDuration(e ast.Expr) bool {
	named, ok := types.Unalias(b.info.Types[e].Type).(*types.Named)
	if !ok || b.info.Types[e].Value == nil {
		return false
	}
	object := named.Obj()
	return object.Pkg() != nil && object.Pkg().Path() == "time" && object.Name() == "Duration"
}

// duration doubles a constant. One that is only named here is broken where it is declared, unless
// it is one of several in a composite literal.
func (b *breaker) duration(e ast.Expr) {
	_, element := b.parent().(*ast.CompositeLit)
	_, pair := b.parent().(*ast.KeyValueExpr)
	if !element && !pair && !b.hasValueOfItsOwn(e) {
		return
	}
	if constant.Sign(b.info.Types[e].Value) == 0 {
		b.becomes(e, e.Pos(), e.End(), "1_000_000_000", "a second")
		return
	}
	b.becomes(e, e.Pos(), e.End(), "(2 * ("+b.codeOf(e)+"))", "2 * "+b.codeOf(e))
}

// hasValueOfItsOwn says that an expression is made of more than constants of this package.
func (b *breaker) hasValueOfItsOwn(e ast.Expr) (own bool) {
	ast.Inspect(e, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.BasicLit:
			own = true
		case *ast.SelectorExpr:
			// time.Second is one, a constant of another package of ours is broken there.
			own = own || b.info.Uses[n.Sel].Pkg().Path() == "time"
			return false
		}
		return true
	})
	return own
}

// usesIota says that the values of a declaration only tell names apart.
func (b *breaker) usesIota(n *ast.ValueSpec) (found bool) {
	ast.Inspect(n, func(n ast.Node) bool {
		name, ok := n.(*ast.Ident)
		found = found || ok && b.info.Uses[name] == types.Universe.Lookup("iota")
		return true
	})
	return found
}
