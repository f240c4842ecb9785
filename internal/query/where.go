// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"
	"strings"
)

// truth is the outcome of a condition: what compares with an absent member is neither true nor
// false.
type truth int

const (
	undefined truth = iota
	no
	yes
)

func truthOf(b bool) truth {
	if b {
		return yes
	}
	return no
}

// expr is a condition.
type expr func(doc map[string]any) truth

// operand is one side of a comparison; ok is false where it is an absent member.
type operand func(doc map[string]any) (value any, ok bool)

func (p *parser) or() (expr, error) {
	return p.chain("or", p.and, func(all []expr) expr {
		return func(doc map[string]any) truth {
			out := no
			for _, e := range all {
				switch e(doc) {
				case yes:
					return yes
				case undefined:
					out = undefined
				}
			}
			return out
		}
	})
}

func (p *parser) and() (expr, error) {
	return p.chain("and", p.not, func(all []expr) expr {
		return func(doc map[string]any) truth {
			out := yes
			for _, e := range all {
				switch e(doc) {
				case no:
					return no
				case undefined:
					out = undefined
				}
			}
			return out
		}
	})
}

func (p *parser) chain(
	word string, each func() (expr, error), join func([]expr) expr,
) (expr, error) {
	var all []expr
	for {
		e, err := each()
		if err != nil {
			return nil, err
		}
		if all = append(all, e); !p.take(word) {
			return join(all), nil
		}
	}
}

func (p *parser) not() (expr, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, wrong(p.query, p.peek().at, "conditions nested more than %d deep", maxDepth)
	}
	defer func() { p.depth-- }()
	if p.take("not") {
		e, err := p.not()
		if err != nil {
			return nil, err
		}
		return func(doc map[string]any) truth {
			switch e(doc) {
			case yes:
				return no
			case no:
				return yes
			}
			return undefined
		}, nil
	}
	if p.take("(") {
		e, err := p.or()
		if err == nil && !p.take(")") {
			err = p.expected(")")
		}
		return e, err
	}
	return p.condition()
}

// condition reads a comparison, or a function that gives true or false.
func (p *parser) condition() (expr, error) {
	if t := p.peek(); t.kind == word && p.tokens[1].is("(") {
		p.next()
		p.next()
		return p.call(t)
	}
	left, err := p.operand()
	if err != nil {
		return nil, err
	}
	t := p.next()
	switch {
	case t.is("in"), t.is("nin"):
		return p.in(left, t.is("in"))
	case t.is("="), t.is("!="), t.is("<>"), t.is("<"), t.is(">"), t.is("<="), t.is(">="):
		right, err := p.operand()
		if err != nil {
			return nil, err
		}
		return func(doc map[string]any) truth {
			a, haveA := left(doc)
			b, haveB := right(doc)
			if !haveA || !haveB {
				return undefined
			}
			return compare(t.text, a, b)
		}, nil
	}
	return nil, wrong(p.query, t.at, "%s where a comparison, IN or NIN should be", t)
}

// in reads the list of an IN or a NIN, in brackets or parentheses.
func (p *parser) in(left operand, want bool) (expr, error) {
	closing := "]"
	if p.take("(") {
		closing = ")"
	} else if !p.take("[") {
		return nil, p.expected("a list such as ['a', 'b']")
	}
	var list []any
	for !p.take(closing) {
		if len(list) > 0 && !p.take(",") {
			return nil, p.expected(", or " + closing)
		}
		v, ok := literal(p.peek())
		if !ok {
			return nil, p.expected("a literal")
		}
		p.next()
		list = append(list, v)
	}
	return func(doc map[string]any) truth {
		v, ok := left(doc)
		if !ok {
			return undefined
		}
		isIn := slices.ContainsFunc(list, func(one any) bool {
			return compare("=", v, one) == yes
		})
		return truthOf(isIn == want)
	}, nil
}

// operand reads a literal or the path of a member.
func (p *parser) operand() (operand, error) {
	if v, ok := literal(p.peek()); ok && !p.tokens[1].is(".") {
		p.next()
		return func(map[string]any) (any, bool) { return v, true }, nil
	}
	member, err := p.path()
	if err != nil {
		return nil, err
	}
	if t := p.peek(); t.is("[") || t.is("(") {
		return nil, wrong(p.query, t.at, "elements of arrays, and functions of values, are not "+
			"supported")
	}
	return member.find, nil
}

func literal(t token) (any, bool) {
	switch {
	case t.kind == text:
		return t.text, true
	case t.kind == number:
		return t.num, true
	case t.is("true"), t.is("false"):
		return strings.EqualFold(t.text, "true"), true
	case t.is("null"):
		return nil, true
	}
	return nil, false
}

// kinds are the functions that ask for the kind of a value; an absent one is of none.
var kinds = map[string]func(v any) bool{
	"is_defined": func(any) bool { return true },
	"is_null":    func(v any) bool { return v == nil },
	"is_bool":    func(v any) bool { return kindOf(v) == "bool" },
	"is_number":  func(v any) bool { return kindOf(v) == "number" },
	"is_string":  func(v any) bool { return kindOf(v) == "string" },
	"is_array":   func(v any) bool { return kindOf(v) == "array" },
	"is_object":  func(v any) bool { return kindOf(v) == "object" },
	"is_primitive": func(v any) bool {
		return kindOf(v) != "array" && kindOf(v) != "object"
	},
}

// texts are the functions of two strings.
var texts = map[string]func(s, part string) bool{
	"starts_with": strings.HasPrefix, "startswith": strings.HasPrefix,
	"ends_with": strings.HasSuffix, "endswith": strings.HasSuffix, "contains": strings.Contains,
}

// call reads the arguments of a function that gives true or false.
func (p *parser) call(name token) (expr, error) {
	is, ofKind := kinds[strings.ToLower(name.text)]
	holds, ofTexts := texts[strings.ToLower(name.text)]
	if !ofKind && !ofTexts {
		return nil, wrong(p.query, name.at, "the function %s is not supported", name)
	}
	first, err := p.operand()
	if err != nil {
		return nil, err
	}
	var second operand
	if ofTexts {
		if !p.take(",") {
			return nil, p.expected(",")
		}
		if second, err = p.operand(); err != nil {
			return nil, err
		}
	}
	if !p.take(")") {
		return nil, p.expected(")")
	}
	if ofKind {
		return func(doc map[string]any) truth {
			v, ok := first(doc)
			return truthOf(ok && is(v))
		}, nil
	}
	return func(doc map[string]any) truth {
		a, _ := first(doc)
		b, _ := second(doc)
		s, ok := a.(string)
		part, both := b.(string)
		if !ok || !both {
			return undefined
		}
		return truthOf(holds(s, part))
	}, nil
}
