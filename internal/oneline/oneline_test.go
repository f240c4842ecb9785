// SPDX-License-Identifier: Apache-2.0

package oneline_test

import (
	"errors"
	"io"
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

func TestJoinedErrorsAreOneLine(t *testing.T) {
	first, second := errors.New("no space"), errors.New("read\nonly")
	assert.NoError(t, oneline.Join(nil, nil))
	assert.Equal(t, first, oneline.Join(nil, first))
	both := oneline.Join(first, nil, second)
	assert.EqualError(t, both, "no space; read only")
	assert.ErrorIs(t, both, first)
	assert.ErrorIs(t, both, second)
	assert.EqualError(t, oneline.Join(both, io.EOF), "no space; read only; EOF")
	assert.NotErrorIs(t, both, io.EOF)
	assert.NotPanics(t, func() { _ = both == oneline.Join(first, second) }, "as any error")
}

func TestACutErrorIsStillItsCause(t *testing.T) {
	assert.NoError(t, oneline.Cut(nil, 3))
	assert.Same(t, io.EOF, oneline.Cut(io.EOF, 3))
	err := oneline.Cut(io.ErrUnexpectedEOF, 10)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.EqualError(t, err, "unexpected…")
	assert.EqualError(t, oneline.Cut(errors.New("a\r\nb"), 10), "a  b")
}
