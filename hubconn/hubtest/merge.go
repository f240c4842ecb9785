// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// The limits of twins. Azure docs: "Understand and use device twins in IoT Hub".
const (
	maxProperties = 32 << 10 // of desired, and of reported properties, as sizeOf counts
	maxTags       = 8 << 10
	maxKey        = 1 << 10
	maxString     = 4 << 10
	maxDepth      = 10 // objects in objects, the outermost not counted
	maxInteger    = 1<<52 - 1
	minInteger    = -1 << 52
)

// document is a JSON object as encoding/json decodes it.
type document = map[string]any

// merge applies a JSON merge patch (RFC 7396) and returns the result. Neither argument is changed;
// the result shares nothing with the patch's objects.
func merge(target, patch document) document {
	out := make(document, len(target)+len(patch))
	for k, v := range target {
		out[k] = v
	}
	for k, v := range patch {
		switch v := v.(type) {
		case nil:
			delete(out, k)
		case document:
			old, _ := out[k].(document)
			out[k] = merge(old, v)
		default:
			out[k] = v
		}
	}
	return out
}

var errMore = errors.New("body is more than one JSON value")

// decodeOne reads one JSON value. Where any may be, a number stays as it is written: the integers
// of a twin have limits of their own.
func decodeOne(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errMore
	}
	return nil
}

// decodeDocument reads what a device sent, within the limits that hold for any part of a twin.
func decodeDocument(body []byte) (document, error) {
	if !utf8.Valid(body) {
		return nil, errors.New("body is not UTF-8")
	}
	var v any
	switch err := decodeOne(body, &v); {
	case errors.Is(err, errMore):
		return nil, err
	case err != nil:
		return nil, errors.New("body is not JSON")
	}
	doc, ok := v.(document)
	if !ok {
		return nil, errors.New("body is not a JSON object")
	}
	checked, err := checkValue(doc, 0)
	if err != nil {
		return nil, err
	}
	return checked.(document), nil
}

// normalDocument is what a back end's map becomes on the wire, within the same limits. What is a
// float64 stays one, however large, as in a twin that comes from a hub.
func normalDocument(m map[string]any) (document, error) {
	if m == nil {
		return document{}, nil
	}
	body, err := json.Marshal(m)
	if err == nil { // it does not go in circles
		body, err = json.Marshal(withFloats(m))
	}
	if err != nil {
		return nil, err
	}
	return decodeDocument(body)
}

// withFloats is a value with those floats written as such that encoding/json would write as
// integers outside of the limits for these: 1e20 is a number that a twin may have.
func withFloats(v any) any {
	switch v := v.(type) {
	case document:
		out := make(document, len(v))
		for k, member := range v {
			out[k] = withFloats(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = withFloats(element)
		}
		return out
	case float64:
		if (v > maxInteger || v < minInteger) && !math.IsInf(v, 0) {
			return json.Number(strconv.FormatFloat(v, 'e', -1, 64))
		}
	}
	return v
}

// checkValue checks a value against the limits, and returns it with its numbers as float64, which
// holds every integer allowed.
func checkValue(v any, depth int) (any, error) {
	switch v := v.(type) {
	case document:
		if depth > maxDepth {
			return nil, fmt.Errorf("objects nested more than %d deep", maxDepth)
		}
		for k, member := range v {
			if err := checkKey(k); err != nil {
				return nil, err
			}
			checked, err := checkValue(member, depth+1)
			if err != nil {
				return nil, err
			}
			v[k] = checked
		}
	case []any:
		for i, element := range v {
			checked, err := checkValue(element, depth+1)
			if err != nil {
				return nil, err
			}
			v[i] = checked
		}
	case string:
		if len(v) > maxString {
			return nil, fmt.Errorf("a string of more than %d bytes", maxString)
		}
	case json.Number:
		return checkNumber(string(v))
	}
	return v, nil
}

func checkNumber(text string) (any, error) {
	if !strings.ContainsAny(text, ".eE") {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n > maxInteger || n < minInteger {
			// an int has 32 bits on small boards
			return nil, fmt.Errorf(
				"an integer outside %d to %d", int64(minInteger), int64(maxInteger),
			)
		}
	}
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return nil, errors.New("a number too large")
	}
	return f, nil
}

func checkKey(k string) error {
	switch {
	case k == "":
		return errors.New("an empty key")
	case len(k) > maxKey:
		return fmt.Errorf("a key of more than %d bytes", maxKey)
	case strings.ContainsAny(k, ".$ ") || strings.ContainsFunc(k, unicode.IsControl):
		return errors.New("a key with a dot, dollar sign, space or control character")
	}
	return nil
}

// sizeOf counts as the service does: keys and strings by their characters, control characters left
// out, numbers 8, booleans 4.
func sizeOf(v any) int {
	switch v := v.(type) {
	case document:
		n := 0
		for k, member := range v {
			n += sizeOf(k) + sizeOf(member)
		}
		return n
	case []any:
		n := 0
		for _, element := range v {
			n += sizeOf(element)
		}
		return n
	case string:
		n := 0
		for _, r := range v {
			if !unicode.IsControl(r) {
				n++
			}
		}
		return n
	case bool:
		return 4
	case nil:
		return 0
	default:
		return 8
	}
}

// clone copies a value's objects and arrays.
func clone(v any) any {
	switch v := v.(type) {
	case document:
		return cloneDocument(v)
	case []any:
		out := make([]any, len(v))
		for i, element := range v {
			out[i] = clone(element)
		}
		return out
	default:
		return v
	}
}

func cloneDocument(d document) document {
	out := make(document, len(d))
	for k, v := range d {
		out[k] = clone(v)
	}
	return out
}
