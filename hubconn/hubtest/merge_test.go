// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMergePatch(t *testing.T) {
	// RFC 7396, appendix A, where both sides are objects; and more
	for _, test := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`},
		{`{"a":"b"}`, `{"a":null}`, `{}`},
		{`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`},
		{`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`},
		{`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`},
		{`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`},
		{`{"e":null}`, `{"a":1}`, `{"e":null,"a":1}`},
		{`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`},
		{`{"a":1}`, `{"a":{"b":2,"c":null}}`, `{"a":{"b":2}}`},
		{`{"a":{"b":1}}`, `{}`, `{"a":{"b":1}}`},
	} {
		var target, patch document
		require.NoError(t, json.Unmarshal([]byte(test[0]), &target))
		require.NoError(t, json.Unmarshal([]byte(test[1]), &patch))
		got, err := json.Marshal(merge(target, patch))
		require.NoError(t, err)
		assert.JSONEq(t, test[2], string(got), "%s with %s", test[0], test[1])
		before, _ := json.Marshal(target)
		assert.JSONEq(t, test[0], string(before), "the target stays")
	}
}

// nested is an object in so many others.
func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + `{"p":"v"}` + strings.Repeat("}", depth)
}

func TestDocumentsAtTheLimits(t *testing.T) {
	for name, test := range map[string]struct{ good, bad string }{
		"depth":           {nested(10), nested(11)},
		"depth in arrays": {`{"a":[[[[[[[[[1]]]]]]]]]}`, `{"a":[[[[[[[[[[` + nested(1) + `]]]]]]]]]]}`},
		"key":             {`{"` + strings.Repeat("k", 1024) + `":1}`, `{"` + strings.Repeat("k", 1025) + `":1}`},
		"string":          {`{"a":"` + strings.Repeat("s", 4096) + `"}`, `{"a":"` + strings.Repeat("s", 4097) + `"}`},
		"string in array": {`{"a":["` + strings.Repeat("s", 4096) + `"]}`, `{"a":["` + strings.Repeat("s", 4097) + `"]}`},
		"largest integer": {`{"a":4503599627370495}`, `{"a":4503599627370496}`},
		"least integer":   {`{"a":-4503599627370496}`, `{"a":-4503599627370497}`},
		"huge integer":    {`{"a":1}`, `{"a":` + strings.Repeat("9", 400) + `}`},
		"number":          {`{"a":1e300}`, `{"a":1e400}`},
		"dollar":          {`{"a":"$"}`, `{"$version":1}`},
		"dot":             {`{"a":"."}`, `{"a.b":1}`},
		"space":           {`{"a":" "}`, `{"a b":1}`},
		"control":         {`{"a":"\u0001"}`, `{"a\u0001":1}`},
		"empty key":       {`{"a":""}`, `{"":1}`},
		"object":          {`{}`, `[]`},
		"null":            {` {} `, `null`},
		"one value":       {`{}`, `{}{}`},
		"whole":           {`{"a":1}`, `{"a":1`},
		"UTF-8":           {`{"a":"ü"}`, "{\"a\":\"\xff\"}"},
		"something":       {`{}`, ``},
	} {
		_, err := decodeDocument([]byte(test.good))
		assert.NoError(t, err, name)
		_, err = decodeDocument([]byte(test.bad))
		assert.Error(t, err, name)
	}
}

func TestSizeIsCountedAsTheServiceDoes(t *testing.T) {
	for text, want := range map[string]int{
		`{}`: 0, `{"ab":"cde"}`: 5, `{"ab":1}`: 10, `{"ab":true}`: 6, `{"ab":{"c":"d"}}`: 4,
		`{"ab":"\u0001x"}`: 3, `{"ü":"ü"}`: 2, `{"a":[1,"bc"]}`: 11,
	} {
		doc, err := decodeDocument([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, sizeOf(doc), text)
	}
}

func FuzzMergePatch(f *testing.F) {
	f.Add([]byte(`{"a":{"b":1},"c":[1,null]}`), []byte(`{"a":{"b":null,"d":{"e":null}},"c":null}`))
	f.Add([]byte(`{}`), []byte(nested(10)))
	f.Add([]byte(`{"a":1}`), []byte(`{"a":{"b":{}}}`))
	f.Add([]byte(`{"a":1e20}`), []byte(`{"b":[4503599627370496.0,-9e15]}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		target, err := decodeDocument(a)
		if err != nil {
			return
		}
		patch, err := decodeDocument(b)
		if err != nil {
			return
		}
		target = merge(nil, target)
		before := fmt.Sprint(target, patch)
		once := merge(target, patch)
		require.Equal(t, once, merge(once, patch), "a patch twice is a patch once")
		require.Equal(t, target, merge(target, document{}))
		require.Equal(t, before, fmt.Sprint(target, patch), "arguments stay")
		require.False(t, hasNull(once))
		for k := range target {
			if _, touched := patch[k]; !touched {
				require.Equal(t, target[k], once[k])
			}
		}
		again, err := normalDocument(once)
		require.NoError(t, err, "what fits fits when it is merged")
		require.Equal(t, once, again)
		require.Equal(t, once, cloneDocument(once))
	})
}

// hasNull reports whether an object has a member that is null: merging leaves none.
func hasNull(d document) bool {
	for _, v := range d {
		if v == nil {
			return true
		}
		if sub, ok := v.(document); ok && hasNull(sub) {
			return true
		}
	}
	return false
}
