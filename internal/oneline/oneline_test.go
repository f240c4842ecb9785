package oneline

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForeignTextIsOneLineWithAnEnd(t *testing.T) {
	for text, want := range map[string]string{
		"":                       "",
		"as it is, ü":            "as it is, ü",
		"two\nlines\r\nor\tmore": "two lines  or more",
		"\x1b[31mred\x00":        " [31mred ",
		"a\u2028b\u202ec":        "a b c",
		"\xff\xfe":               "\ufffd\ufffd",
		strings.Repeat("é", 64):  strings.Repeat("é", 64),
		strings.Repeat("é", 65):  strings.Repeat("é", 64) + "…",
	} {
		require.Equal(t, want, Of(text, 64), "%q", text)
	}
}
