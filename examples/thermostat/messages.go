package main

import (
	"context"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

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
			"message received", "messageId", excerpt([]byte(m.MessageID)), "bytes", len(m.Body),
			"body", excerpt(m.Body), "properties",
			excerpt([]byte(strings.Join(slices.Sorted(maps.Keys(m.Properties)), " "))),
		)
	}
	return nil
}

// excerptSize is how much of a text from elsewhere is logged, in bytes.
const excerptSize = 100

// excerpt is the beginning of a text, for a log.
func excerpt(data []byte) string {
	switch {
	case looksSecret(string(data)):
		return "(withheld: it looks like a credential)"
	case !utf8.Valid(data):
		return "(not text)"
	case len(data) <= excerptSize:
		return string(data)
	}
	end := excerptSize
	for !utf8.RuneStart(data[end]) {
		end--
	}
	return string(data[:end]) + "…"
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
		return looksLikeKey(word) || looksLikeKey(value)
	})
}
