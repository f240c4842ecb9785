// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// print prints a value, as JSON or as lines of text.
func (p *program) print(value any, lines ...string) error {
	if p.format == "json" {
		data, err := json.Marshal(value)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(p.stdout, "%s\n", data)
		return err
	}
	_, err := fmt.Fprintln(p.stdout, strings.Join(lines, "\n"))
	return err
}

// row is a line of text with a name and a value; none where the value is empty.
func row(name, value string) []string {
	if value == "" {
		return nil
	}
	return []string{fmt.Sprintf("%-14s %s", name, value)}
}

// shown makes foreign bytes fit for a terminal: one line, and nothing that moves its cursor.
func shown(data []byte) string {
	text := string(data)
	if !utf8.ValidString(text) ||
		strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// payload is foreign bytes in JSON: JSON as it is, text as a string, anything else as base64.
type payload []byte

// MarshalJSON writes it.
func (b payload) MarshalJSON() ([]byte, error) {
	switch {
	case len(b) == 0:
		return []byte("null"), nil
	case json.Valid(b):
		return b, nil
	case utf8.Valid(b):
		return json.Marshal(string(b))
	}
	return json.Marshal([]byte(b))
}
