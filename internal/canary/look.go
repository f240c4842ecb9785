// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// mark is what the keys of tests begin with. It is put together here so that this program's own
// output cannot hold it by accident.
const mark = "canary" + "-"

// A find is a secret that was printed.
type find struct {
	file string
	line int
	what string
	text string
}

func (f find) String() string {
	return fmt.Sprintf("%s:%d: %s: %s", f.file, f.line, f.what, f.text)
}

// A form is a way in which a secret may be printed.
type form struct {
	what    string
	pattern *regexp.Regexp
}

// shapes are the secrets that are recognised whatever they are made of.
var shapes = []form{
	{"a signature", regexp.MustCompile(`(?i)\bsig(?:=|%3d)[a-z0-9%+/_-]{16,}`)},
	{"a SAS token", regexp.MustCompile(`(?i)SharedAccessSignature(?:\s|\+|%20)+s[re]`)},
	{"a private key", regexp.MustCompile(`-----BEGIN [A-Z ]*PRIVATE KEY-----`)},
	{"a private key as a number", regexp.MustCompile(`\b[0-9]{70,}\b`)},
}

// formsOf are the ways in which a secret that begins with text may be printed.
func formsOf(text string) []form {
	forms := []form{
		{"a key in base64", anyOf(base64Forms(text))},
		{"a key in base64 of base64", anyOf(twice(text))},
		{"a key in hexadecimal", regexp.MustCompile("(?i)" + eachByte(text, "%02x", `(?:[\s,:%]|0x|\\x)*`))},
		{"a key as numbers", regexp.MustCompile(`\b` + eachByte(text, "%d", `[\s,]+`) + `\b`)},
	}
	if utf8.ValidString(text) { // others cannot be printed as they are
		forms = append(forms, form{"a key", regexp.MustCompile("(?i)" + regexp.QuoteMeta(text))})
	}
	return forms
}

// look returns the secrets in text, at most one a line and form.
func look(file string, text []byte, forms []form) []find {
	var finds []find
	for _, f := range forms {
		last := 0
		for _, at := range f.pattern.FindAllIndex(text, -1) {
			line := 1 + bytes.Count(text[:at[0]], []byte("\n"))
			if line != last {
				finds = append(finds, find{file, line, f.what, excerpt(text, at[0])})
			}
			last = line
		}
	}
	slices.SortFunc(finds, func(a, b find) int { return a.line - b.line })
	return finds
}

// excerpt is the line around a find, shortened.
func excerpt(text []byte, at int) string {
	const before, after = 80, 80
	start := max(at-before, bytes.LastIndexByte(text[:at], '\n')+1)
	end := min(at+after, len(text))
	if n := bytes.IndexByte(text[at:end], '\n'); n >= 0 {
		end = at + n
	}
	return strings.TrimSpace(string(text[start:end]))
}

// base64Forms are the characters that text always becomes in base64, for each of the three places
// where it may start within what is encoded.
func base64Forms(text string) []string {
	var encoded []string
	for lead := range 3 {
		all := base64.RawStdEncoding.EncodeToString(append(make([]byte, lead), text...))
		// the characters before share bits with what comes before text
		first := (lead*8 + 5) / 6
		end := (lead + len(text)) * 8 / 6 // those from here on with what follows
		encoded = append(encoded, all[first:end])
	}
	return encoded
}

func twice(text string) []string {
	var encoded []string
	for _, once := range base64Forms(text) {
		encoded = append(encoded, base64Forms(once)...)
	}
	return encoded
}

// anyOf matches any of some pieces of base64, in its standard or its URL alphabet.
func anyOf(pieces []string) *regexp.Regexp {
	for i, p := range pieces {
		p = strings.ReplaceAll(regexp.QuoteMeta(p), `\+`, `(?:\+|-|%2[Bb])`)
		pieces[i] = strings.ReplaceAll(p, "/", "(?:/|_|%2[Ff])")
	}
	return regexp.MustCompile(strings.Join(pieces, "|"))
}

func eachByte(text, verb, separator string) string {
	var parts []string
	for _, b := range []byte(text) {
		parts = append(parts, fmt.Sprintf(verb, b))
	}
	return strings.Join(parts, separator)
}
