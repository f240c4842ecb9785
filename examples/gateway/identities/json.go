// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
)

// json reads an array of objects.
func (r *reading) json(data []byte) {
	in := json.NewDecoder(bytes.NewReader(data))
	lineAt := lines(data)
	if token, err := in.Token(); err != nil || token != json.Delim('[') {
		r.wrong(lineAt(in.InputOffset()), "", "it is not a json array: begin with [, and an "+
			"object an identity")
		return
	}
	for in.More() {
		begin := in.InputOffset()
		begin += int64(len(data[begin:]) - len(bytes.TrimLeft(data[begin:], ", \t\r\n")))
		line := lineAt(begin)
		var members map[string]json.RawMessage
		err := in.Decode(&members)
		if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
			r.wrong(lineAt(syntax.Offset), "", "it is not json: a comma, a quote or a bracket is "+
				"missing, or one too many")
			return
		}
		_, ofAnotherType := errors.AsType[*json.UnmarshalTypeError](err)
		switch {
		case ofAnotherType:
			r.wrong(line, "", "it is no object: write {%q: …}", fieldID)
		case err != nil:
			r.wrong(line, "", "the file ends within it: it was cut off")
			return
		default:
			r.object(line, members)
		}
	}
	if _, err := in.Token(); err != nil {
		r.wrong(lineAt(int64(len(data))), "", "the array is not closed: end with ]")
	} else if rest := bytes.TrimSpace(data[in.InputOffset():]); len(rest) > 0 {
		r.wrong(lineAt(in.InputOffset()), "", "there is something behind the array: take it away")
	}
}

// object takes the members of an object for an identity.
func (r *reading) object(line int, members map[string]json.RawMessage) {
	row, ok := row{}, true
	for _, name := range slices.Sorted(maps.Keys(members)) {
		value := members[name]
		if !slices.Contains(fields, name) {
			r.wrong(line, "", "it has a member that is no field: use %s",
				strings.Join(fields, ", "))
			ok = false
			continue
		}
		if name == fieldPayload {
			row[name] = string(value)
			continue
		}
		var text *string
		if err := json.Unmarshal(value, &text); err != nil {
			r.wrong(line, name, "it is no string: write it in quotes")
			ok = false
		} else if text != nil {
			row[name] = *text
		}
	}
	if ok {
		r.add(line, row)
	}
}

// lines returns a function that tells in which line an offset is. Offsets grow from call to call.
func lines(data []byte) func(offset int64) int {
	line, at := 1, 0
	return func(offset int64) int {
		to := min(int(offset), len(data))
		if to > at {
			line += bytes.Count(data[at:to], []byte("\n"))
			at = to
		}
		return line
	}
}
