// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/hubconn"
)

// logMessages logs what comes from the cloud: enough to see what arrived, and no more. The values
// of application properties are left out, and so is a body that looks as if it held a credential.
func (t *thermostat) logMessages(ctx context.Context, hub *hubconn.Conn) error {
	for m, err := range hub.Messages(ctx) {
		if err != nil {
			return err
		}
		t.log.Info(
			"message received", "message_id", excerpt([]byte(m.MessageID)), "bytes", len(m.Body),
			"body", excerpt(m.Body), "properties",
			excerpt([]byte(strings.Join(slices.Sorted(maps.Keys(m.Properties)), " "))),
		)
	}
	return nil
}

// excerptSize is how much of a text from elsewhere is logged, in bytes.
const excerptSize = 100

// excerpt is the beginning of a text, for a log, with a space for each character that does not
// print: it must not pass for more than one line, nor move a terminal's cursor.
func excerpt(data []byte) string {
	switch {
	case looksSecret(string(data)):
		return "(withheld: it looks like a credential)"
	case !utf8.Valid(data):
		return "(not text)"
	case len(data) <= excerptSize:
		return printable(data)
	}
	end := excerptSize
	for !utf8.RuneStart(data[end]) {
		end--
	}
	return printable(data[:end]) + "…"
}

func printable(data []byte) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, string(data))
}

// looksSecret finds the forms in which Azure's credentials are written: a guess, and better one too
// many.
func looksSecret(text string) bool {
	lower := strings.ToLower(text)
	for _, mark := range []string{
		"sharedaccess", "accountkey", "sig=", "signature", "private key", "password", "secret",
		"token",
	} {
		if strings.Contains(lower, mark) {
			return true
		}
	}
	words := strings.FieldsFunc(text, func(r rune) bool {
		return strings.ContainsRune(" \t\r\n\"',;:{}[]", r)
	})
	return slices.ContainsFunc(words, func(word string) bool {
		_, value, _ := strings.Cut(word, "=") // key=…
		return settings.LooksLikeKey(word) || settings.LooksLikeKey(value)
	})
}
