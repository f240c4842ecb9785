// SPDX-License-Identifier: Apache-2.0

package query

import (
	"slices"
	"strings"
)

// Query is a query parsed.
type Query struct {
	// From is the collection that is asked, in lower case; "" where none is named.
	From string

	top     int // rows; 0: all
	columns []column
	where   expr // nil: all
	group   []path
}

// All reports whether a query is for whole documents: SELECT *.
func (q *Query) All() bool { return q.columns == nil }

// column is one of a projection.
type column struct {
	name      string
	aggregate string // lower case; "" for a member
	of        path   // nil for COUNT()
	at        int
}

// The bounds of a query: what is larger is nobody's.
const (
	maxQuery = 64 << 10
	maxDepth = 50
)

type parser struct {
	query  string
	tokens []token
	from   string // the alias of the collection, if it has one
	depth  int
}

// Parse reads a query. Its error is an *Error.
func Parse(query string) (*Query, error) {
	if len(query) > maxQuery {
		return nil, wrong(query, maxQuery, "a query of more than %d bytes", maxQuery)
	}
	tokens, err := lex(query)
	if err != nil {
		return nil, err
	}
	p := &parser{query: query, tokens: tokens}
	if p.take("*") && p.finish() == nil { // what DPS takes as a query for everything
		return &Query{}, nil
	}
	p.tokens = tokens
	return p.parse()
}

func (p *parser) parse() (*Query, error) {
	q := &Query{}
	if !p.take("select") {
		return nil, p.expected("SELECT")
	}
	if p.take("top") {
		t := p.next()
		if q.top = int(t.num); t.kind != number || t.num != float64(q.top) || q.top < 1 {
			return nil, wrong(p.query, t.at, "TOP needs a whole number of 1 or more")
		}
	}
	// The names in it may begin with an alias that comes later.
	selected := p.tokens
	if err := p.columns(q); err != nil {
		return nil, err
	}
	if p.take("from") {
		if err := p.source(q); err != nil {
			return nil, err
		}
	} else if !q.All() || !p.peek().is(";") && p.peek().kind != end {
		return nil, p.expected("FROM")
	}
	rest := p.tokens
	p.tokens, q.columns = selected, nil
	_ = p.columns(q) // it was right before
	p.tokens = rest
	var err error
	if p.take("where") {
		if q.where, err = p.or(); err != nil {
			return nil, err
		}
	}
	if t := p.peek(); p.take("group") {
		if err = p.groups(q); err != nil {
			return nil, err
		}
		if q.All() {
			return nil, wrong(p.query, t.at, "GROUP BY needs a projection in place of *")
		}
	}
	if err = p.finish(); err != nil {
		return nil, err
	}
	return q, p.checkColumns(q)
}

func (p *parser) finish() error {
	p.take(";")
	switch t := p.peek(); {
	case t.kind == end:
		return nil
	case t.is("order"):
		return wrong(p.query, t.at, "ORDER BY: the language has none")
	case t.is("having"), t.is("limit"), t.is("join"), t.is("offset"):
		return wrong(p.query, t.at, "%s is not supported", strings.ToUpper(t.text))
	default:
		return wrong(p.query, t.at, "%s after the end of the query", t)
	}
}

var aggregates = []string{"count", "sum", "avg", "min", "max"}

func (p *parser) columns(q *Query) error {
	if p.take("*") {
		return nil
	}
	for {
		c := column{at: p.peek().at}
		t := p.peek()
		name := strings.ToLower(t.text)
		call := t.kind == word && p.tokens[1].is("(")
		switch {
		case call && !slices.Contains(aggregates, name):
			return wrong(p.query, t.at, "%s is not supported in a projection", t)
		case call:
			p.next()
			p.next()
			c.aggregate, c.name = name, name
			if name != "count" || !p.take(")") {
				if name == "count" && p.take("*") {
					return wrong(p.query, p.peek().at, "COUNT takes no argument: write COUNT()")
				}
				of, err := p.path()
				if err != nil {
					return err
				}
				if c.of = of; !p.take(")") {
					return p.expected(")")
				}
			}
		default:
			of, err := p.path()
			if err != nil {
				return err
			}
			c.of, c.name = of, of[len(of)-1]
		}
		if p.take("as") {
			t := p.next()
			if t.kind != word && t.kind != quoted {
				return wrong(p.query, t.at, "AS needs a name, not %s", t)
			}
			c.name = t.text
		}
		q.columns = append(q.columns, c)
		if !p.take(",") {
			return nil
		}
	}
}

// checkColumns holds what SQL holds of groups.
func (p *parser) checkColumns(q *Query) error {
	if !q.Aggregates() {
		return nil
	}
	for _, c := range q.columns {
		grouped := slices.ContainsFunc(q.group, func(g path) bool { return slices.Equal(g, c.of) })
		if c.aggregate == "" && !grouped {
			return wrong(p.query, c.at, "%q is neither in GROUP BY nor an aggregate",
				strings.Join(c.of, "."))
		}
	}
	return nil
}

// source reads what follows FROM: a collection, and maybe an alias for it.
func (p *parser) source(q *Query) error {
	t := p.next()
	if t.kind != word {
		return wrong(p.query, t.at, "FROM needs the name of a collection, not %s", t)
	}
	q.From = strings.ToLower(t.text)
	if p.take(".") {
		if t = p.next(); t.kind != word {
			return wrong(p.query, t.at, "%s is no collection", t)
		}
		q.From += "." + strings.ToLower(t.text)
	}
	as := p.take("as")
	t = p.peek()
	if as && t.kind != word {
		return p.expected("a name")
	}
	if t.kind == word && (as || !slices.ContainsFunc(keywords, t.is)) {
		p.from = p.next().text
	}
	return nil
}

var keywords = []string{"where", "group", "order", "having", "limit", "join", "offset"}

func (p *parser) groups(q *Query) error {
	if !p.take("by") {
		return p.expected("BY")
	}
	for {
		g, err := p.path()
		if err != nil {
			return err
		}
		if q.group = append(q.group, g); !p.take(",") {
			return nil
		}
	}
}

// path is where a member is in a document.
type path []string

// path reads a member's path: names joined by dots, each maybe in double brackets. It may begin
// with the collection's name or alias.
func (p *parser) path() (path, error) {
	var names path
	for {
		t := p.next()
		if t.kind != word && t.kind != quoted {
			return nil, wrong(p.query, t.at, "%s where the name of a member should be", t)
		}
		names = append(names, t.text)
		if !p.take(".") {
			break
		}
	}
	for _, prefix := range []path{
		{"devices", "modules"}, {"devices"}, {"enrollments"}, {"enrollmentGroups"}, {"c"}, {p.from},
	} {
		if n := len(prefix); len(names) > n && slices.EqualFunc(
			names[:n], prefix, strings.EqualFold,
		) {
			return names[n:], nil
		}
	}
	return names, nil
}

func (p *parser) peek() token { return p.tokens[0] }

func (p *parser) next() token {
	t := p.tokens[0]
	if t.kind != end {
		p.tokens = p.tokens[1:]
	}
	return t
}

func (p *parser) take(s string) bool {
	if p.peek().is(s) {
		p.next()
		return true
	}
	return false
}

func (p *parser) expected(what string) error {
	t := p.peek()
	return wrong(p.query, t.at, "%s where %s should be", t, what)
}
