// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"bytes"
	"encoding/csv"
	"errors"
	"io"
	"slices"
	"strings"
)

// csv reads lines of comma-separated values below a header that names the columns. Lines that begin
// with # are comments.
func (r *reading) csv(data []byte) {
	in := csv.NewReader(bytes.NewReader(data))
	in.Comment, in.FieldsPerRecord, in.TrimLeadingSpace = '#', -1, true
	in.ReuseRecord = true
	header, err := in.Read()
	if errors.Is(err, io.EOF) {
		r.wrong(1, "", "the file is empty: begin with the header %s,%s", fieldID, fieldKey)
		return
	}
	if err != nil {
		r.wrongCSV(err)
		return
	}
	columns := r.columns(in, header)
	if columns == nil {
		return
	}
	for {
		record, err := in.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			r.wrongCSV(err) // behind it nothing can be told for certain
			return
		}
		line, _ := in.FieldPos(0)
		if len(record) > len(columns) {
			r.wrong(line, "", "it has %d fields, and the header %d: quote a field that has commas",
				len(record), len(columns))
			continue
		}
		row := row{}
		for i, text := range record {
			row[columns[i]] = strings.TrimSpace(text)
		}
		r.add(line, row)
	}
}

// columns are the fields of the header; nil if it has mistakes.
func (r *reading) columns(in *csv.Reader, header []string) []string {
	line, _ := in.FieldPos(0)
	before := len(r.problems)
	columns := make([]string, len(header))
	for i, name := range header {
		name = strings.TrimSpace(name)
		at := slices.IndexFunc(fields, func(f string) bool { return strings.EqualFold(f, name) })
		switch {
		case at < 0: // it may be anything, a key too, where the header was forgotten
			r.wrong(line, "", "column %d of the header is no field: name the columns by %s",
				i+1, strings.Join(fields, ", "))
		case slices.Contains(columns, fields[at]):
			r.wrong(line, fields[at], "the header has it twice: keep one")
		default:
			columns[i] = fields[at]
		}
	}
	if len(r.problems) == before && !slices.Contains(columns, fieldID) {
		r.wrong(line, fieldID, "the header does not have it: every identity needs one")
	}
	if len(r.problems) > before {
		return nil
	}
	return columns
}

func (r *reading) wrongCSV(err error) {
	line, text := 1, "it cannot be read as csv"
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		line = e.Line
		switch {
		case errors.Is(e.Err, csv.ErrQuote):
			text = "a quote is not closed, or not doubled: write \"a \"\"b\"\" c\""
		case errors.Is(e.Err, csv.ErrBareQuote):
			text = "a quote stands within a field: put the field in quotes and double it"
		}
	}
	r.wrong(line, "", "%s", text)
}
