// SPDX-License-Identifier: Apache-2.0

package sas

import (
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// maxExpiry keeps a hostile expiry inside what time.Time can hold and compare.
const maxExpiry = 1 << 53

// A Signature is a token that has been read but not verified.
type Signature struct {
	// Resource is what the token is for, percent-decoded.
	Resource string
	// Expiry is when the token ends, to the second.
	Expiry time.Time
	// KeyName is the policy that the key belongs to ("registration" at the
	// provisioning service); empty for a device's own key.
	KeyName string

	signed string // the text under the signature, as sent
	mac    []byte
}

// An Error says which part of a token cannot be read, and never its value.
type Error struct {
	// Field is "sr", "sig", "se" or "skn"; empty when it is the whole token.
	Field string
	// Problem is what is wrong with it.
	Problem string
}

// Error returns one line.
func (e *Error) Error() string {
	if e.Field == "" {
		return "sas token " + e.Problem
	}
	return "sas token: " + e.Field + " " + e.Problem
}

// Parse reads a token as any of the official clients writes it: fields in any
// order, upper or lower case escapes, a resource that is not escaped at all, skn
// present, empty or absent. Fields it does not know are ignored, a field given
// twice is refused. Failures are of type *[Error].
func Parse(token string) (*Signature, error) {
	name, rest, ok := strings.Cut(strings.TrimSpace(token), " ")
	if !ok || !strings.EqualFold(name, scheme) {
		return nil, &Error{Problem: "does not begin with " + scheme}
	}
	var sr, sig, se, skn field
	fields := map[string]*field{"sr": &sr, "sig": &sig, "se": &se, "skn": &skn}
	for pair := range strings.SplitSeq(strings.TrimSpace(rest), "&") {
		key, value, _ := strings.Cut(pair, "=")
		f := fields[key]
		if f == nil {
			continue
		}
		if f.present {
			return nil, &Error{Field: key, Problem: "is given twice"}
		}
		*f = field{present: true, raw: value}
	}
	for _, key := range []string{"sr", "sig", "se"} {
		if fields[key].raw == "" {
			return nil, &Error{Field: key, Problem: "is missing"}
		}
	}

	s := &Signature{signed: sr.raw + "\n" + se.raw}
	var err error
	// Not QueryUnescape: base64 sent without escapes keeps its plus signs.
	if s.Resource, err = url.PathUnescape(sr.raw); err != nil {
		return nil, &Error{Field: "sr", Problem: "is not percent-encoded"}
	}
	if s.KeyName, err = url.PathUnescape(skn.raw); err != nil {
		return nil, &Error{Field: "skn", Problem: "is not percent-encoded"}
	}
	text, err := url.PathUnescape(sig.raw)
	if err != nil {
		return nil, &Error{Field: "sig", Problem: "is not percent-encoded"}
	}
	if s.mac, err = base64.StdEncoding.DecodeString(text); err != nil {
		return nil, &Error{Field: "sig", Problem: "is not base64"}
	}
	seconds, err := strconv.ParseUint(se.raw, 10, 64)
	if err != nil || seconds > maxExpiry {
		return nil, &Error{Field: "se", Problem: "is not a time in unix seconds"}
	}
	s.Expiry = time.Unix(int64(seconds), 0)
	return s, nil
}

type field struct {
	present bool
	raw     string
}

// Verify reports whether the token was signed with key, over the resource text
// exactly as it was sent. The comparison takes the same time wherever the two
// differ. An empty key, which anyone could sign with, verifies nothing. Verify
// does not look at Resource, Expiry or KeyName: that is the caller's part.
func (s *Signature) Verify(key []byte) bool {
	return len(key) > 0 && hmac.Equal(s.mac, sign(key, s.signed))
}

// String describes the token without its signature.
func (s Signature) String() string {
	text := fmt.Sprintf(
		"sas token for %q until %s", s.Resource, s.Expiry.UTC().Format(time.RFC3339),
	)
	if s.KeyName != "" {
		text += fmt.Sprintf(" by %q", s.KeyName)
	}
	return text
}

// Format keeps the signature out of every verb's output, %#v and %x included.
func (s Signature) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue keeps the signature out of logs.
func (s Signature) LogValue() slog.Value { return slog.StringValue(s.String()) }
