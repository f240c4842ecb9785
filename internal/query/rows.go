// SPDX-License-Identifier: Apache-2.0

package query

import (
	"cmp"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"strings"
)

// find returns a member of a document.
func (p path) find(doc map[string]any) (any, bool) {
	var at any = doc
	for _, name := range p {
		object, ok := at.(map[string]any)
		if !ok {
			return nil, false
		}
		if at, ok = object[name]; !ok {
			return nil, false
		}
	}
	return at, true
}

// Matches reports whether a document, as encoding/json decodes one, meets the condition.
func (q *Query) Matches(doc map[string]any) bool { return q.where == nil || q.where(doc) == yes }

// Aggregates reports whether a row is of many documents, and not of one.
func (q *Query) Aggregates() bool {
	return len(q.group) > 0 ||
		slices.ContainsFunc(q.columns, func(c column) bool { return c.aggregate != "" })
}

// Rows returns the rows for some documents, in their order: those that match themselves for
// SELECT *, else objects of the columns. What is absent in a document is absent in its row.
func (q *Query) Rows(docs []map[string]any) []map[string]any {
	rows := []map[string]any{}
	var groups map[string]*group
	if q.Aggregates() {
		groups = map[string]*group{}
		if len(q.group) == 0 { // one row, of nothing as well
			groups["[]"] = &group{columns: make([]tally, len(q.columns))}
		}
	}
	var order []*group
	for _, g := range groups {
		order = append(order, g)
	}
	for _, doc := range docs {
		switch {
		case !q.Matches(doc):
		case groups != nil:
			key := q.key(doc)
			g := groups[key]
			if g == nil {
				g = &group{first: doc, columns: make([]tally, len(q.columns))}
				groups[key], order = g, append(order, g)
			}
			g.add(q, doc)
		case q.All():
			rows = append(rows, doc)
		default:
			rows = append(rows, q.project(doc))
		}
	}
	for _, g := range order {
		rows = append(rows, g.row(q))
	}
	if q.top > 0 {
		rows = rows[:min(q.top, len(rows))]
	}
	return rows
}

func (q *Query) project(doc map[string]any) map[string]any {
	row := make(map[string]any, len(q.columns))
	for _, c := range q.columns {
		if v, ok := c.of.find(doc); ok {
			row[c.name] = v
		}
	}
	return row
}

// group is the documents with the same values of what GROUP BY names.
type group struct {
	first   map[string]any
	columns []tally
}

// tally is what an aggregate has seen.
type tally struct {
	count    int // of documents or, with an argument, of those that have it
	numbers  int
	sum      float64
	min, max any // nil: none yet
}

// key tells groups apart. An absent member is not the same as one that is null.
func (q *Query) key(doc map[string]any) string {
	key := make([]any, len(q.group))
	for i, g := range q.group {
		if v, ok := g.find(doc); ok {
			key[i] = []any{v}
		}
	}
	text, _ := json.Marshal(key) // decoded from JSON: cannot fail
	return string(text)
}

func (g *group) add(q *Query, doc map[string]any) {
	for i, c := range q.columns {
		t := &g.columns[i]
		if c.aggregate == "count" && c.of == nil {
			t.count++
			continue
		}
		v, ok := c.of.find(doc)
		if !ok {
			continue
		}
		t.count++
		if f, ok := asNumber(v); ok {
			t.numbers++
			t.sum += f
		}
		if t.min == nil || compare("<", v, t.min) == yes {
			t.min = v
		}
		if t.max == nil || compare(">", v, t.max) == yes {
			t.max = v
		}
	}
}

func (g *group) row(q *Query) map[string]any {
	row := make(map[string]any, len(q.columns))
	for i, c := range q.columns {
		t := g.columns[i]
		switch {
		case c.aggregate == "":
			if v, ok := c.of.find(g.first); ok {
				row[c.name] = v
			}
		case c.aggregate == "count":
			row[c.name] = t.count
		case math.IsInf(t.sum, 0) && (c.aggregate == "sum" || c.aggregate == "avg"):
			// JSON has no such number
		case c.aggregate == "sum":
			row[c.name] = t.sum
		case c.aggregate == "avg" && t.numbers > 0:
			row[c.name] = t.sum / float64(t.numbers)
		case c.aggregate == "min" && t.min != nil:
			row[c.name] = t.min
		case c.aggregate == "max" && t.max != nil:
			row[c.name] = t.max
		}
	}
	return row
}

// compare compares two values. Only numbers, strings and booleans have an order, and only among
// their like.
func compare(op string, a, b any) truth {
	if x, ok := asNumber(a); ok {
		a = x
	}
	if x, ok := asNumber(b); ok {
		b = x
	}
	switch op {
	case "=":
		return truthOf(reflect.DeepEqual(a, b))
	case "!=", "<>":
		return truthOf(!reflect.DeepEqual(a, b))
	}
	var order int
	switch x := a.(type) {
	case float64:
		y, ok := b.(float64)
		if !ok {
			return undefined
		}
		order = cmp.Compare(x, y)
	case string:
		y, ok := b.(string)
		if !ok {
			return undefined
		}
		order = strings.Compare(x, y)
	default:
		return undefined
	}
	switch op {
	case "<":
		return truthOf(order < 0)
	case ">":
		return truthOf(order > 0)
	case "<=":
		return truthOf(order <= 0)
	default:
		return truthOf(order >= 0)
	}
}

// asNumber returns a number as JSON has it: documents made in Go have other kinds of them.
func asNumber(v any) (float64, bool) {
	switch r := reflect.ValueOf(v); {
	case v == nil:
	case r.CanInt():
		return float64(r.Int()), true
	case r.CanUint():
		return float64(r.Uint()), true
	case r.CanFloat():
		return r.Float(), true
	}
	return 0, false
}

func kindOf(v any) string {
	if _, ok := asNumber(v); ok {
		return "number"
	}
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "bool"
	case string:
		return "string"
	case []any:
		return "array"
	}
	return "object"
}
