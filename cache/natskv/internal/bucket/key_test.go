// SPDX-License-Identifier: Apache-2.0

package bucket_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

func TestKeysAreReadableAndOneTokenOfASubject(t *testing.T) {
	for s, want := range map[string]string{
		"":                       "=",
		"Sensor-042_a":           "Sensor-042_a",
		"a.b":                    "a=2eb",
		"a=2eb":                  "a=3d2eb",
		"*":                      "=2a",
		">":                      "=3e",
		"urn:example:1":          "urn=3aexample=3a1",
		"é":                      "=c3=a9",
		strings.Repeat("k", 200): strings.Repeat("k", 200),
	} {
		assert.Equal(t, want, bucket.EncodeKey(s))
	}
	long := bucket.EncodeKey(strings.Repeat("k", 201))
	assert.Len(t, long, 200)
	assert.NotEqual(t, long, bucket.EncodeKey(strings.Repeat("k", 202)))
}

var token = regexp.MustCompile(`^[-_=a-zA-Z0-9]{1,200}$`)

func FuzzEncodeKey(f *testing.F) {
	f.Add("sensor", "Sensor")
	f.Add("a=2e", "a.")
	f.Add(strings.Repeat(".", 66)+"aa", strings.Repeat(".", 66)+"ab")
	f.Add(strings.Repeat("k", 300), strings.Repeat("k", 301))
	f.Fuzz(func(t *testing.T, a, b string) {
		keyA, keyB := bucket.EncodeKey(a), bucket.EncodeKey(b)
		if !token.MatchString(keyA) {
			t.Errorf("%q is no token", keyA)
		}
		if (a == b) != (keyA == keyB) {
			t.Errorf("%q and %q become %q and %q", a, b, keyA, keyB)
		}
	})
}
