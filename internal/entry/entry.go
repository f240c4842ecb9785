// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"encoding/binary"
	"time"
)

// An Entry is what one registration ID remembers.
type Entry struct {
	_ [0]func() // never compared, which saves code in a device's program

	Sequence uint64    // how many times something was stored
	Saved    time.Time // by the corrected clock, to the second

	// What the assignments hold for: the DPS instance, the device and its credential.
	Scope          string
	RegistrationID string
	Endpoint       string
	Fingerprint    string

	Confirmed *Assignment // the one that last led to a connection, nil if none did
	Candidate *Assignment // what DPS said since, nil if nothing

	Fallback Fallback
}

// Fallback is what was learned of the network, for each service: when the transport to prefer was
// last tried in vain while another one reached the service, to the second. Zero where that did not
// happen, or not lately.
type Fallback struct{ Hub, DPS time.Time }

// Equal says that both mean the same.
func (f Fallback) Equal(g Fallback) bool { return f.Hub.Equal(g.Hub) && f.DPS.Equal(g.DPS) }

// Assignment is the part of DPS's answer that is remembered.
type Assignment struct {
	Hub       string
	DeviceID  string
	Substatus string
	Created   time.Time
	Updated   time.Time
	Payload   []byte
	Profile   string // the hub's connection profile; "" if DPS told none
}

// Equal says that both mean the same; nil equals nil alone.
func (a *Assignment) Equal(b *Assignment) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Hub == b.Hub && a.DeviceID == b.DeviceID && a.Substatus == b.Substatus &&
		a.Created.Equal(b.Created) && a.Updated.Equal(b.Updated) &&
		string(a.Payload) == string(b.Payload) && a.Profile == b.Profile
}

// Body is the entry as it is sealed.
func (e *Entry) Body() []byte {
	b := binary.BigEndian.AppendUint64(nil, e.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Saved.Unix()))
	for _, s := range []string{e.Scope, e.RegistrationID, e.Endpoint, e.Fingerprint} {
		b = appendText(b, s)
	}
	b = appendAssignment(b, e.Confirmed)
	b = appendAssignment(b, e.Candidate)
	return e.appendFallback(e.appendProfiles(b))
}

// appendProfiles adds what most entries do without, and all did once. What comes after it is only
// found behind it.
func (e *Entry) appendProfiles(b []byte) []byte {
	var profiles [2]string
	for i, a := range []*Assignment{e.Confirmed, e.Candidate} {
		if a != nil {
			profiles[i] = a.Profile
		}
	}
	if profiles == [2]string{} && e.Fallback.Equal(Fallback{}) {
		return b
	}
	return appendText(appendText(b, profiles[0]), profiles[1])
}

// appendFallback adds what only the entries of devices have that the preferred port is closed to.
func (e *Entry) appendFallback(b []byte) []byte {
	if e.Fallback.Equal(Fallback{}) {
		return b
	}
	for _, t := range []time.Time{e.Fallback.Hub, e.Fallback.DPS} {
		b = binary.AppendVarint(b, seconds(t))
	}
	return b
}

func seconds(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.Unix()
}

func fromSeconds(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(n, 0).UTC()
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAssignment(b []byte, a *Assignment) []byte {
	if a == nil {
		return append(b, 0)
	}
	b = append(b, 1)
	for _, s := range []string{a.Hub, a.DeviceID, a.Substatus} {
		b = appendText(b, s)
	}
	b = binary.AppendVarint(b, nanos(a.Created))
	b = binary.AppendVarint(b, nanos(a.Updated))
	return appendText(b, a.Payload)
}

func nanos(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromNanos(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.Unix(0, n).UTC()
}

// Parse reads a body. The error is ErrTorn: an entry is believed as a whole or not at all.
func Parse(body []byte) (*Entry, error) {
	r := reader{rest: body}
	e := &Entry{Sequence: r.uint64(), Saved: time.Unix(int64(r.uint64()), 0).UTC()}
	for _, s := range []*string{&e.Scope, &e.RegistrationID, &e.Endpoint, &e.Fingerprint} {
		*s = string(r.text())
	}
	e.Confirmed = r.assignment()
	e.Candidate = r.assignment()
	if len(r.rest) > 0 {
		r.profile(e.Confirmed)
		r.profile(e.Candidate)
	}
	if len(r.rest) > 0 {
		e.Fallback = Fallback{Hub: fromSeconds(r.varint()), DPS: fromSeconds(r.varint())}
	}
	if r.failed || len(r.rest) != 0 {
		return nil, ErrTorn
	}
	return e, nil
}

// reader reads a body field by field; after the first field that is not there, all are empty.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) fail() { r.failed, r.rest = true, nil }

func (r *reader) uint64() uint64 {
	if len(r.rest) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}

func (r *reader) text() []byte {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n > uint64(len(r.rest)-used) {
		r.fail()
		return nil
	}
	s := r.rest[used : used+int(n)]
	r.rest = r.rest[used+int(n):]
	return s
}

func (r *reader) varint() int64 {
	v, used := binary.Varint(r.rest)
	if used <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[used:]
	return v
}

func (r *reader) profile(of *Assignment) {
	profile := string(r.text())
	switch {
	case of != nil:
		of.Profile = profile
	case profile != "":
		r.fail()
	}
}

func (r *reader) assignment() *Assignment {
	if len(r.rest) == 0 {
		r.fail()
		return nil
	}
	present := r.rest[0]
	r.rest = r.rest[1:]
	switch present {
	case 0:
		return nil
	case 1:
	default:
		r.fail()
		return nil
	}
	a := &Assignment{}
	for _, s := range []*string{&a.Hub, &a.DeviceID, &a.Substatus} {
		*s = string(r.text())
	}
	a.Created, a.Updated = fromNanos(r.varint()), fromNanos(r.varint())
	if p := r.text(); len(p) > 0 {
		a.Payload = append([]byte(nil), p...)
	}
	if a.Hub == "" || a.DeviceID == "" {
		r.fail()
	}
	return a
}
