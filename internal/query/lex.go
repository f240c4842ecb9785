// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Error is what is wrong with a query.
type Error struct {
	// Position is that of the first character that is wrong; the query's first has 1.
	Position int
	// Problem says what is wrong, and what would be right.
	Problem string
}

// Error returns one line.
func (e *Error) Error() string { return fmt.Sprintf("position %d: %s", e.Position, e.Problem) }

type kind int

const (
	end    kind = iota
	word        // a name or keyword
	quoted      // [[name]]
	text
	number
	symbol
)

type token struct {
	kind kind
	text string  // of words as written, of texts without their quotes
	num  float64 // of numbers
	at   int     // byte offset
}

// is reports whether a token is a keyword or symbol. Keywords have no case.
func (t token) is(s string) bool {
	return (t.kind == word || t.kind == symbol) && strings.EqualFold(t.text, s)
}

func (t token) String() string {
	switch t.kind {
	case end:
		return "the end"
	case text:
		return "a string"
	}
	return strconv.Quote(t.text)
}

// lex takes a query apart.
func lex(query string) ([]token, error) {
	var tokens []token
	for i := 0; i < len(query); {
		c := query[i]
		t := token{at: i}
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case c == '\'' || c == '"':
			var ok bool
			if t.text, i, ok = lexText(query, i); !ok {
				return nil, wrong(query, t.at, "a string without its closing quote")
			}
			t.kind = text
		case strings.HasPrefix(query[i:], "[["):
			name, _, ok := strings.Cut(query[i+2:], "]]")
			if ok && isName(name) {
				t.kind, t.text = quoted, name
				i += len(name) + 4
				break
			}
			t.kind, t.text = symbol, "[" // a list of lists is refused later
			i++
		case isDigit(c) || c == '-' && i+1 < len(query) && isDigit(query[i+1]):
			j := i + 1
			for j < len(query) && inNumber(query[j], query[j-1]) {
				j++
			}
			f, err := strconv.ParseFloat(query[i:j], 64)
			if err != nil || j < len(query) && isWord(query[j]) {
				return nil, wrong(query, i, "a number that is none")
			}
			t.kind, t.text, t.num, i = number, query[i:j], f, j
		case isWord(c) && c != '-':
			j := i + 1
			for j < len(query) && isWord(query[j]) {
				j++
			}
			t.kind, t.text, i = word, query[i:j], j
		default:
			t.kind, t.text = symbol, string(c)
			if i+1 < len(query) {
				switch two := query[i : i+2]; two {
				case "!=", "<>", "<=", ">=":
					t.text = two
				}
			}
			if !strings.Contains("*(),.[]=<>!=<=>=;", t.text) || t.text == "!" {
				return nil, wrong(query, i, "a character that means nothing here")
			}
			i += len(t.text)
		}
		tokens = append(tokens, t)
	}
	return append(tokens, token{kind: end, at: len(query)}), nil
}

// lexText reads a string. A quote in it is doubled, or has a backslash before it.
func lexText(query string, i int) (s string, next int, ok bool) {
	quote := query[i]
	var b strings.Builder
	for i++; i < len(query); i++ {
		switch c := query[i]; {
		case c == '\\' && i+1 < len(query) && strings.IndexByte(`'"\`, query[i+1]) >= 0:
			i++
			b.WriteByte(query[i])
		case c != quote:
			b.WriteByte(c)
		case i+1 < len(query) && query[i+1] == quote:
			i++
			b.WriteByte(quote)
		default:
			return b.String(), i + 1, true
		}
	}
	return "", 0, false
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// inNumber reports whether a character belongs to the number that one before it does.
func inNumber(c, before byte) bool {
	return isDigit(c) || strings.IndexByte(".eE", c) >= 0 ||
		(c == '+' || c == '-') && (before == 'e' || before == 'E')
}

// isWord reports whether a name may have a character in it. Names of members have hyphens, since
// the language has no arithmetic; all that is not ASCII is a letter.
func isWord(c byte) bool {
	return isDigit(c) || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' ||
		strings.IndexByte("_$-", c) >= 0 || c >= utf8.RuneSelf
}

// isName reports whether a text can stand between double brackets.
func isName(s string) bool { return s != "" && !strings.ContainsAny(s, "[]'\"\r\n") }

// wrong is the error at a byte of a query: the position is that of the character that it is in.
func wrong(query string, at int, format string, args ...any) error {
	e := &Error{Position: 1, Problem: fmt.Sprintf(format, args...)}
	for {
		_, size := utf8.DecodeRuneInString(query)
		if size == 0 || size > at {
			return e
		}
		query, at = query[size:], at-size
		e.Position++
	}
}
