// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// decodeFile reads the JSON file that a flag names into v. What is wrong is told in one line with
// the file and the field, or the line and column where there is no field. Unlike encoding/json
// alone it refuses unknown members wherever they stand, members in other letter case, and a member
// given twice.
func decodeFile(flag, name string, v any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("%s: %w", flag, err) // it names the file
	}
	if err := decode(data, v); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func decode(data []byte, v any) error {
	data = bytes.TrimPrefix(data, []byte("\uFEFF")) // editors on Windows leave it
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("is empty: it must hold a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := checkValue(d, reflect.TypeOf(v), "", 0); err != nil {
		return located(data, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return located(data, &placeError{
			offset: d.InputOffset(), problem: "there is something after the end of the object",
		})
	}
	if err := json.Unmarshal(data, v); err != nil {
		return located(data, err)
	}
	return nil
}

// placeError is something wrong at a place of the file.
type placeError struct {
	field   string
	offset  int64
	problem string
}

func (e *placeError) Error() string {
	if e.field == "" {
		return e.problem
	}
	return e.field + ": " + e.problem
}

// located puts the line before what is wrong.
func located(data []byte, err error) error {
	offset, problem := int64(len(data)), err.Error()
	if e, ok := errors.AsType[*placeError](err); ok {
		offset = e.offset
	} else if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		offset = e.Offset
	} else if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		problem = "the JSON ends too early"
	}
	offset = min(offset, int64(len(data)))
	return fmt.Errorf("line %d: %s", 1+bytes.Count(data[:offset], []byte("\n")), printable(problem))
}

// printable escapes what would break the line, or the terminal, that an error is printed on. The
// names of a file's members may hold any character.
func printable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

func described(t reflect.Type) string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return "a string"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint8:
		return "a whole number"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	return "a " + t.String()
}

// maxNesting is how deep values may be in others. Each has the whole path to it in memory, and a
// twin may be ten deep.
const maxNesting = 100

// checkValue reads one value, which is in so many others, and compares it with what t can hold,
// down to the last member.
func checkValue(d *json.Decoder, t reflect.Type, path string, depth int) error {
	if depth > maxNesting {
		problem := fmt.Sprintf("values are nested more than %d deep", maxNesting)
		return &placeError{offset: d.InputOffset(), problem: problem}
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t { // faults read these two as text, see hubtest.Fault and dpstest.Fault
	case reflect.TypeFor[time.Duration]():
		t = reflect.TypeFor[simnet.Duration]()
	case reflect.TypeFor[[]byte]():
		t = reflect.TypeFor[string]()
	}
	token, err := d.Token()
	if err != nil {
		return err
	}
	switch token {
	case json.Delim('['):
		if !fits(t, reflect.Slice) {
			return misfit(d, path, "an array", t)
		}
		var elem reflect.Type
		if t != nil && t.Kind() == reflect.Slice {
			elem = t.Elem()
		}
		for i := 0; d.More(); i++ {
			if err := checkValue(d, elem, fmt.Sprintf("%s[%d]", path, i), depth+1); err != nil {
				return err
			}
		}
		_, err = d.Token()
		return err
	case json.Delim('{'):
		if !fits(t, reflect.Struct, reflect.Map) {
			return misfit(d, path, "an object", t)
		}
		return checkMembers(d, t, path, depth)
	case nil:
		return nil // as if it were not there
	}
	return checkScalar(d, token, t, path)
}

// checkMembers reads the members of an object, which is in so many other values, and its end.
func checkMembers(d *json.Decoder, t reflect.Type, path string, depth int) error {
	fields, closed := members(t)
	seen := map[string]bool{}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return err
		}
		name, _ := key.(string)
		where := strings.TrimPrefix(path+"."+name, ".")
		field, known := fields[name]
		switch {
		case closed && !known:
			return &placeError{where, d.InputOffset(), "is no field" + suggest(name, fields)}
		case seen[name]:
			return &placeError{where, d.InputOffset(), "is given twice"}
		}
		if t != nil && t.Kind() == reflect.Map {
			field = t.Elem()
		}
		seen[name] = true
		if err := checkValue(d, field, where, depth+1); err != nil {
			return err
		}
	}
	_, err := d.Token()
	return err
}

// checkScalar tries whether t can hold a string, number or truth value.
func checkScalar(d *json.Decoder, token json.Token, t reflect.Type, path string) error {
	if t == nil {
		return nil
	}
	text, err := json.Marshal(token)
	if err != nil {
		return err
	}
	err = json.Unmarshal(text, reflect.New(t).Interface())
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return misfit(d, path, string(text), e.Type)
	}
	if err != nil {
		return &placeError{path, d.InputOffset(), err.Error()}
	}
	return nil
}

func fits(t reflect.Type, kinds ...reflect.Kind) bool {
	if t == nil || t.Kind() == reflect.Interface || t == reflect.TypeFor[json.RawMessage]() {
		return true
	}
	return slices.Contains(kinds, t.Kind())
}

func misfit(d *json.Decoder, path, is string, t reflect.Type) error {
	if len(is) > 40 {
		is = is[:40] + "…"
	}
	if path == "" {
		path = "the file"
	}
	return &placeError{
		path, d.InputOffset(), fmt.Sprintf("is %s where %s belongs", is, described(t)),
	}
}

// members returns the fields of an object by their JSON names, and whether there can be no others.
// A type without JSON names reads itself.
func members(t reflect.Type) (map[string]reflect.Type, bool) {
	if t == nil || t.Kind() != reflect.Struct {
		return nil, false
	}
	fields := map[string]reflect.Type{}
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			inner, _ := members(f.Type)
			for n, ft := range inner {
				fields[n] = ft
			}
		case name != "" && name != "-":
			fields[name] = f.Type
		}
	}
	return fields, len(fields) > 0
}

func suggest(name string, fields map[string]reflect.Type) string {
	names := make([]string, 0, len(fields))
	for n := range fields {
		if strings.EqualFold(n, name) {
			return fmt.Sprintf(": write it %q", n)
		}
		names = append(names, n)
	}
	slices.Sort(names)
	return ": known are " + strings.Join(names, ", ")
}
