// SPDX-License-Identifier: Apache-2.0

package identities

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// row is an identity as text, by field.
type row map[string]string

// anyKey is a valid group key, to hear about an ID alone.
var anyKey = strings.Repeat("A", 44)

// add takes a row, or tells all that is wrong with it.
func (r *reading) add(line int, row row) {
	before := len(r.problems)
	id := row[fieldID]
	if id == "" {
		r.wrong(line, fieldID, "it is missing: every identity needs one")
	} else if _, err := dps.DeriveDeviceKey(anyKey, id); err != nil {
		r.wrong(line, fieldID, "%s", cause(err))
	} else if first := r.lines[strings.ToLower(id)]; first > 0 {
		r.wrong(line, fieldID, "it stands in line %d already: keep one (letter case does not "+
			"count)", first)
	} else {
		r.lines[strings.ToLower(id)] = line
	}
	idIsGood := len(r.problems) == before
	attestation := r.attestation(line, row, idIsGood)
	payload := json.RawMessage(row[fieldPayload])
	if len(payload) > 0 && !json.Valid(payload) {
		r.wrong(line, fieldPayload, "it is not json: in csv, write it in quotes and double those "+
			"within it")
	}
	if string(payload) == "null" || len(payload) == 0 {
		payload = nil
	}
	if len(r.problems) > before {
		return
	}
	i := Identity{
		ID: id, Attestation: attestation, ModelID: row[fieldModel], Payload: payload,
	}
	h := sha256.New()
	for _, f := range fields {
		h.Write([]byte(row[f]))
		h.Write([]byte{0xff}) // no text has it
	}
	h.Write([]byte(r.source.GroupKey))
	h.Sum(i.sum[:0])
	r.identities = append(r.identities, i)
}

// attestation is what the row says of its credential. Without a good ID none is made, but the
// mistakes of its own fields are told.
func (r *reading) attestation(line int, row row, idIsGood bool) dps.Attestation {
	key, certificate, certificateKey := row[fieldKey], row[fieldCertificate],
		row[fieldCertificateKey]
	id := row[fieldID]
	if !idIsGood {
		id = "any"
	}
	switch {
	case key != "" && (certificate != "" || certificateKey != ""):
		r.wrong(line, fieldKey, "there is a certificate, too: keep one of the two")
	case key != "":
		k := dps.SymmetricKey{ID: id, Key: key}
		if err := k.Validate(); err != nil {
			r.wrong(line, fieldKey, "%s", cause(err))
		}
		return k
	case certificate != "" && certificateKey == "":
		r.wrong(line, fieldCertificateKey, "it is missing: name the file of the certificate's key")
	case certificateKey != "" && certificate == "":
		r.wrong(line, fieldCertificate, "it is missing: name the file of the certificate")
	case certificate != "":
		for _, f := range []string{fieldCertificate, fieldCertificateKey} {
			if settings.LooksLikeKey(row[f]) {
				r.wrong(line, f, "it looks like a key: name the file that has it")
				return nil
			}
		}
		if !idIsGood {
			return nil
		}
		x := &dps.X509Files{
			ID: id, CertificateFile: r.beside(certificate), KeyFile: r.beside(certificateKey),
		}
		if err := x.Validate(); err != nil {
			r.wrong(line, fieldCertificate, "%s", cause(err))
		}
		return x
	case r.source.GroupKey == "":
		r.wrong(line, fieldKey, "there is no credential: give a key, a certificate and its key, "+
			"or the group key of them all")
	default:
		derived, err := dps.DeriveDeviceKey(r.source.GroupKey, id)
		if err != nil {
			r.wrong(line, fieldKey, "none can be derived from the group key: %s", cause(err))
		}
		return dps.SymmetricKey{ID: id, Key: derived}
	}
	return nil
}

// beside finds files from the directory of the list, as whoever wrote it does.
func (r *reading) beside(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(r.source.Path), path)
}

// keyWithin finds a key of 32 or 64 bytes, which ends in padding, or what announces one, wherever
// it stands.
var keyWithin = regexp.MustCompile(`[0-9A-Za-z+/_-]{23}=|SharedAccess|PRIVATE KEY`)

// cause is what the library says about an identity, in one line. It never shows a key, but repeats
// IDs and the names of files: into either a key gets where the fields are not separated by commas.
func cause(err error) string {
	if failure, ok := errors.AsType[*dps.Error](err); ok && failure.Err != nil {
		err = failure.Err
	}
	text := strings.Join(strings.Fields(err.Error()), " ")
	if keyWithin.MatchString(text) {
		return "it has what looks like a key in it: give the key in a field of its own"
	}
	return text
}
