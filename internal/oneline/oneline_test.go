package oneline_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/oneline"
)

func TestForeignTextIsOneLineWithAnEnd(t *testing.T) {
	for s, want := range map[string]string{
		"":                      "",
		"a\r\nb\u2028c\x00d":    "a  b c d",
		"grüße":                 "grüße",
		"0123456789":            "0123456789",
		"0123456789x":           "0123456789…",
		"ééééééééééé":           "éééééééééé…",
		"\xff\xfe not UTF-8":    "\ufffd\ufffd not UTF…",
		"\x1b[31mred\x1b[0m":    " [31mred […",
		"time=x level=y\nmsg=z": "time=x lev…",
	} {
		assert.Equal(t, want, oneline.Of(s, 10), "%q", s)
	}
}

func TestTextForProgramsIsPrintableASCII(t *testing.T) {
	for s, want := range map[string]string{
		"":                   "",
		"a\r\nb\u2028c\x7fd": "a  b c d",
		"grüße":              "gr  e",
		"0123456789x":        "0123456789",
		"012345678é":         "012345678 ", // cut in the middle of a character
	} {
		assert.Equal(t, want, oneline.ASCII(s, 10), "%q", s)
	}
}
