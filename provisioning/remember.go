package provisioning

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// What a device remembers is one entry of a few hundred bytes, under its registration ID:
//
//	"RHME", version (1 byte), length of the body (4 bytes, big endian), body, length of the seal (2 bytes), seal, CRC-32C of all before (4 bytes)
//
// The checksum tells a torn write from a sound one. The seal, made with the device's own key, tells whether the device wrote it: who can
// write the file cannot send the device to a hub of theirs. No key and no token is in it.
const (
	entryMagic   = "RHME"
	entryVersion = 1
	entryHead    = len(entryMagic) + 1 + 4
	entryMax     = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// An entry is what one registration ID remembers.
type entry struct {
	sequence    uint64
	saved       time.Time // by the corrected clock
	scope       string
	id          string
	endpoint    string
	fingerprint string
	confirmed   *dps.Assignment
	candidate   *dps.Assignment
}

// Reasons why an entry is not used. None of them is an error to the program: the device asks DPS instead.
var (
	errEntryTorn     = errors.New("the stored entry is damaged")
	errEntryNewer    = errors.New("the stored entry was written by a newer version")
	errEntryForeign  = errors.New("the stored entry belongs to another ID scope, registration ID or endpoint")
	errEntryRotated  = errors.New("the credential has changed since the entry was stored")
	errEntryTampered = errors.New("the stored entry does not carry this device's seal: it may have been tampered with")
)

func (e *entry) body() []byte {
	b := binary.BigEndian.AppendUint64(nil, e.sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(e.saved.Unix()))
	for _, s := range []string{e.scope, e.id, e.endpoint, e.fingerprint} {
		b = appendText(b, s)
	}
	b = appendAssignment(b, e.confirmed)
	return appendAssignment(b, e.candidate)
}

func appendText[T ~string | ~[]byte](b []byte, s T) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAssignment(b []byte, a *dps.Assignment) []byte {
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

// frame puts body and seal into the form that is stored.
func frame(body, seal []byte) []byte {
	b := append([]byte(entryMagic), entryVersion)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(seal)))
	b = append(b, seal...)
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// unframe takes stored bytes apart. It trusts none of them.
func unframe(data []byte) (body, seal []byte, err error) {
	if len(data) < entryHead+2+4 || len(data) > entryMax || string(data[:len(entryMagic)]) != entryMagic {
		return nil, nil, errEntryTorn
	}
	sum := binary.BigEndian.Uint32(data[len(data)-4:])
	if data = data[:len(data)-4]; crc32.Checksum(data, castagnoli) != sum {
		return nil, nil, errEntryTorn
	}
	switch version := data[len(entryMagic)]; {
	case version > entryVersion:
		return nil, nil, errEntryNewer
	case version < entryVersion:
		return nil, nil, errEntryTorn
	}
	n := uint64(binary.BigEndian.Uint32(data[len(entryMagic)+1:]))
	data = data[entryHead:]
	if n+2 > uint64(len(data)) {
		return nil, nil, errEntryTorn
	}
	body, data = data[:n], data[n:]
	if int(binary.BigEndian.Uint16(data)) != len(data)-2 {
		return nil, nil, errEntryTorn
	}
	return body, data[2:], nil
}

func parseEntry(body []byte) (*entry, error) {
	r := entryReader{rest: body}
	e := &entry{sequence: r.uint64(), saved: time.Unix(int64(r.uint64()), 0).UTC()}
	for _, s := range []*string{&e.scope, &e.id, &e.endpoint, &e.fingerprint} {
		*s = string(r.text())
	}
	e.confirmed = r.assignment(e.id)
	e.candidate = r.assignment(e.id)
	if r.failed || len(r.rest) != 0 {
		return nil, errEntryTorn
	}
	return e, nil
}

// entryReader reads a body field by field; after the first field that is not there, all are empty.
type entryReader struct {
	rest   []byte
	failed bool
}

func (r *entryReader) fail() { r.failed, r.rest = true, nil }

func (r *entryReader) uint64() uint64 {
	if len(r.rest) < 8 {
		r.fail()
		return 0
	}
	v := binary.BigEndian.Uint64(r.rest)
	r.rest = r.rest[8:]
	return v
}

func (r *entryReader) text() []byte {
	n, used := binary.Uvarint(r.rest)
	if used <= 0 || n > uint64(len(r.rest)-used) {
		r.fail()
		return nil
	}
	s := r.rest[used : used+int(n)]
	r.rest = r.rest[used+int(n):]
	return s
}

func (r *entryReader) varint() int64 {
	v, used := binary.Varint(r.rest)
	if used <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[used:]
	return v
}

func (r *entryReader) assignment(id string) *dps.Assignment {
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
	a := &dps.Assignment{RegistrationID: id, Status: dps.StatusAssigned}
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

// A notebook is one device's place in a store.
type notebook struct {
	store       cache.Store
	attestation dps.Attestation
	scope       string
	endpoint    string
	now         func() time.Time

	last     *entry // as stored, if sound; nil if the store holds nothing of ours
	sequence uint64
}

// read says what the store calls for at boot. The error is the reason why nothing is used, for the log; it is nil where there is nothing.
func (n *notebook) read(ctx context.Context) (memory, error) {
	if n.store == nil {
		return memory{verdict: retry.Lookup}, nil
	}
	data, err := n.store.Get(ctx, n.attestation.RegistrationID())
	if errors.Is(err, cache.ErrMiss) {
		return memory{verdict: retry.Register}, nil
	}
	if err != nil {
		return memory{verdict: retry.Lookup}, err
	}
	e, err := n.open(ctx, data)
	switch {
	case err == nil:
		n.last, n.sequence = e, e.sequence
		return memory{verdict: retry.Wait, confirmed: stored(e.confirmed), candidate: stored(e.candidate)}, nil
	case errors.Is(err, errEntryForeign), errors.Is(err, errEntryRotated):
		return memory{verdict: retry.Register}, err
	}
	return memory{verdict: retry.Lookup}, err
}

func stored(a *dps.Assignment) *known {
	if a == nil {
		return nil
	}
	return &known{Assignment: *a, source: SourceStore}
}

// open takes an entry that is sound, this device's, and sealed by it.
func (n *notebook) open(ctx context.Context, data []byte) (*entry, error) {
	body, seal, err := unframe(data)
	if err != nil {
		return nil, err
	}
	e, err := parseEntry(body)
	if err != nil {
		return nil, err
	}
	if e.scope != n.scope || !strings.EqualFold(e.id, n.attestation.RegistrationID()) || !strings.EqualFold(e.endpoint, n.endpoint) {
		return nil, errEntryForeign
	}
	fingerprint, err := n.attestation.Fingerprint(ctx)
	if err != nil {
		return nil, fmt.Errorf("fingerprint of the credential: %w", err)
	}
	if e.fingerprint != fingerprint {
		return nil, errEntryRotated
	}
	if n.attestation.Verify(ctx, body, seal) != nil {
		return nil, errEntryTampered
	}
	if e.confirmed == nil && e.candidate == nil {
		return nil, errEntryTorn
	}
	return e, nil
}

// write stores the assignments, if they differ from what is stored: flash wears out, and a steady reboot has nothing to say.
func (n *notebook) write(ctx context.Context, confirmed, candidate *known) error {
	if n.store == nil {
		return nil
	}
	e := entry{
		sequence: n.sequence + 1, saved: n.now(), scope: n.scope, id: n.attestation.RegistrationID(), endpoint: n.endpoint,
		confirmed: confirmed.assignment(), candidate: candidate.assignment(),
	}
	if e.confirmed == nil && e.candidate == nil {
		return nil
	}
	if n.last != nil && sameAssignment(n.last.confirmed, e.confirmed) && sameAssignment(n.last.candidate, e.candidate) {
		return nil
	}
	var err error
	if e.fingerprint, err = n.attestation.Fingerprint(ctx); err != nil {
		return fmt.Errorf("fingerprint of the credential: %w", err)
	}
	body := e.body()
	seal, err := n.attestation.Seal(ctx, body)
	if err != nil {
		return fmt.Errorf("seal of the entry: %w", err)
	}
	if err := n.store.Put(ctx, e.id, frame(body, seal)); err != nil {
		n.last = nil // what is stored now is unknown: write again at the next occasion
		return err
	}
	n.last, n.sequence = &e, e.sequence
	return nil
}

func (n *notebook) forget(ctx context.Context) error {
	n.last = nil
	if n.store == nil {
		return nil
	}
	return n.store.Delete(ctx, n.attestation.RegistrationID())
}

func (k *known) assignment() *dps.Assignment {
	if k == nil {
		return nil
	}
	return &k.Assignment
}

// sameAssignment compares what is stored of two assignments.
func sameAssignment(a, b *dps.Assignment) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Hub == b.Hub && a.DeviceID == b.DeviceID && a.Substatus == b.Substatus &&
		a.Created.Equal(b.Created) && a.Updated.Equal(b.Updated) && string(a.Payload) == string(b.Payload)
}

// sameHub compares host names as DNS does.
func sameHub(a, b string) bool { return strings.EqualFold(a, b) }
