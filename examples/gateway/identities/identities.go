// SPDX-License-Identifier: Apache-2.0

// Package identities reads the file that lists for whom a gateway speaks, in CSV or JSON. Whatever
// is wrong with it is told together, each mistake with its line, its field and the fix, and without
// any secret of it.
package identities

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

// The fields of an identity, by which the columns of CSV and the members of JSON are named.
const (
	fieldID             = "registrationId"
	fieldKey            = "key"
	fieldCertificate    = "certificate"
	fieldCertificateKey = "certificateKey"
	fieldModel          = "modelId"
	fieldPayload        = "payload"
)

var fields = []string{
	fieldID, fieldKey, fieldCertificate, fieldCertificateKey, fieldModel, fieldPayload,
}

// MaxSize is how many bytes of a file are read: some two hundred thousand identities.
const MaxSize = 64 << 20

// Identity is one line of the file.
type Identity struct {
	// ID is the registration ID, as the file has it.
	ID string
	// Attestation is its key, the one derived from the group's, or the files of its certificate.
	Attestation dps.Attestation
	// ModelID and Payload are those of provisioning.Device; empty and nil where there are none.
	ModelID string
	Payload json.RawMessage

	sum [sha256.Size]byte
}

// Equal says that two identities have the same fields: whoever runs the one runs the other. What is
// in the files of a certificate does not count: a device reads them again by itself.
func (i *Identity) Equal(other *Identity) bool { return i.sum == other.sum }

// Source says where identities are from.
type Source struct {
	// Path is the file. Its name ends in .json, or it is CSV.
	Path string
	// GroupKey is the enrollment group's key, from which the keys of those are derived that have
	// no credential in the file. Empty: each needs its own.
	GroupKey string `json:"-"`
}

// String names the file and not the group key.
func (s Source) String() string { return fmt.Sprintf("identities in %q (key redacted)", s.Path) }

// GoString is String.
func (s Source) GoString() string { return s.String() }

// Format writes String for every verb.
func (s Source) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s Source) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Read reads the file. The error is an *Error where the file can be read and has mistakes.
func (s Source) Read() ([]Identity, error) {
	info, err := os.Stat(s.Path)
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file: name one in csv or json", s.Path)
	}
	if err == nil && info.Size() > MaxSize {
		err = fmt.Errorf("%s has %d bytes: %d are the limit", s.Path, info.Size(), MaxSize)
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(s.Path)
	if err != nil {
		return nil, err
	}
	return s.parse(data)
}

func (s Source) parse(data []byte) ([]Identity, error) {
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // as spreadsheets begin a file
	r := &reading{source: s, lines: map[string]int{}}
	if strings.EqualFold(filepath.Ext(s.Path), ".json") {
		r.json(data)
	} else {
		r.csv(data)
	}
	if len(r.problems) == 0 && len(r.identities) == 0 {
		r.wrong(1, "", "there is no identity in it: list one a line, below the header")
	}
	if len(r.problems) > 0 {
		return nil, &Error{Path: s.Path, Problems: r.problems}
	}
	return r.identities, nil
}

// reading is one look at a file.
type reading struct {
	source     Source
	identities []Identity
	problems   []Problem
	lines      map[string]int // where an ID, in lower case, stands
}

func (r *reading) wrong(line int, field, format string, args ...any) {
	r.problems = append(r.problems, Problem{line, field, fmt.Sprintf(format, args...)})
}
