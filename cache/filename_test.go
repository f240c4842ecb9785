// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFileNames(t *testing.T) {
	for key, want := range map[string]string{
		"assignment":                        "assignment",
		"a-b_c.d9":                          "a-b_c.d9",
		"Sensor/1":                          "%53ensor%2f1",
		"0ne:x":                             "0ne%3ax",
		"":                                  "%",
		"%":                                 "%25",
		"%25":                               "%2525",
		".":                                 "%2e",
		"..":                                "%2e%2e",
		"...":                               "%2e.%2e",
		".hidden":                           "%2ehidden",
		"trailing.":                         "trailing%2e",
		"con":                               "%63on",
		"nul.txt":                           "%6eul.txt",
		"com1":                              "%63om1",
		"lpt0.a.b":                          "%6cpt0.a.b",
		"com":                               "com",
		"com10":                             "com10",
		"console":                           "console",
		"é":                                 "%c3%a9",
		"a\x00":                             "a%00",
		"~":                                 "%7e",
		"exactly" + strings.Repeat("k", 93): "exactly" + strings.Repeat("k", 93),
	} {
		assert.Equal(t, want, fileName(key), "%q", key)
	}
	// sha256 of 101 letters k.
	assert.Equal(
		t,
		strings.Repeat("k", 35)+"~dec651a2cfdb388ffb5e01b69d4d79971b0a7af493a0865bb40784c545621354",
		fileName(strings.Repeat("k", 101)),
	)
}

// unescape is fileName's inverse for names that are not hashed, written from the
// documentation alone.
func unescape(name string) (key string, ok bool) {
	if name == "%" {
		return "", true
	}
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		if name[i] != '%' {
			b.WriteByte(name[i])
			continue
		}
		if i+2 >= len(name) {
			return "", false
		}
		high, low := strings.IndexByte(digits, name[i+1]), strings.IndexByte(digits, name[i+2])
		if high < 0 || low < 0 {
			return "", false
		}
		b.WriteByte(byte(high<<4 | low))
		i += 2
	}
	return b.String(), true
}

func FuzzFileNameIsInjective(f *testing.F) {
	for _, pair := range [][2]string{
		{"", "%"}, {"a", "A"}, {".", "%2e"}, {"a/b", "a%2fb"}, {"con", "%63on"}, {"~", "%7e"},
		{strings.Repeat("k", 100), strings.Repeat("k", 101)},
		{strings.Repeat("k", 101), strings.Repeat("k", 102)},
		{strings.Repeat("k", 101), fileName(strings.Repeat("k", 101))},
		{strings.Repeat("/", 33), strings.Repeat("/", 34)},
	} {
		f.Add(pair[0], pair[1])
	}
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, key := range []string{a, b} {
			name := fileName(key)
			if name == "" || len(name) > longestName {
				t.Errorf("%q has a name of %d bytes", key, len(name))
			}
			if name[0] == '.' || name[len(name)-1] == '.' ||
				strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789._-%~") != "" {
				t.Errorf("%q has the unsafe name %q", key, name)
			}
			if isDeviceName(name) {
				t.Errorf("%q has the reserved name %q", key, name)
			}
			if strings.Contains(name, hashMark) {
				continue // as injective as SHA-256
			}
			// A map with an inverse is injective.
			if back, ok := unescape(name); !ok || back != key {
				t.Errorf("%q has the name %q, which is %q", key, name, back)
			}
		}
		if (fileName(a) == fileName(b)) != (a == b) {
			t.Errorf("%q and %q have the names %q and %q", a, b, fileName(a), fileName(b))
		}
	})
}
