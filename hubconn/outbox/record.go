// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
)

// A record is a message as it stands in the file, without its key. It is, one after the other:
//
//	 1 byte   the format's version, 1
//	 4 bytes  CRC-32C of the key and of all that follows, little-endian
//	varint    when it was kept, in milliseconds since 1970
//	varint    CreationTime likewise, and 1 added; 0 if there is none
//	text ×6   MessageID, CorrelationID, ContentType, ContentEncoding, Component, Output
//	uvarint   how many properties, and name and value of each as a text
//	the rest  Body
//
// A text is its length as a uvarint, and its bytes. The database has no checksum of what is in its
// pages: the CRC tells a record that is not as it was written.
const (
	recordVersion = 1
	recordHeader  = 5
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("the record is damaged")

// keySize is the length of a key: the device's number, the lane, and the sequence number, all
// big-endian, so that the database has them in this order.
const keySize = 4 + 1 + 8

func keyOf(device uint32, lane lane, sequence uint64) []byte {
	key := make([]byte, 0, keySize)
	key = binary.BigEndian.AppendUint32(key, device)
	key = append(key, byte(lane))
	return binary.BigEndian.AppendUint64(key, sequence)
}

// laneOf takes apart a key; not ok is one that keyOf has not made.
func laneOf(key []byte) (device uint32, lane lane, sequence uint64, ok bool) {
	if len(key) != keySize || key[4] >= lanes {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(key), laneNumber(key[4]), binary.BigEndian.Uint64(key[5:]), true
}

// encode makes a record that lacks its checksum: the key is known only when it is stored.
func encode(m *hubconn.Message, kept time.Time) []byte {
	size := recordHeader + 2*binary.MaxVarintLen64 + 10*binary.MaxVarintLen32 + len(m.Body)
	for name, value := range m.Properties {
		size += len(name) + len(value) + 2*binary.MaxVarintLen32
	}
	b := make([]byte, recordHeader, size)
	b[0] = recordVersion
	b = binary.AppendVarint(b, kept.UnixMilli())
	created := int64(0)
	if !m.CreationTime.IsZero() {
		if created = m.CreationTime.UnixMilli(); created >= 0 {
			created++
		}
	}
	b = binary.AppendVarint(b, created)
	for _, s := range []string{
		m.MessageID, m.CorrelationID, m.ContentType, m.ContentEncoding, m.Component, m.Output,
	} {
		b = appendText(b, s)
	}
	b = binary.AppendUvarint(b, uint64(len(m.Properties)))
	for _, name := range slices.Sorted(maps.Keys(m.Properties)) {
		b = appendText(appendText(b, name), m.Properties[name])
	}
	return append(b, m.Body...)
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// sign puts the checksum into a record.
func sign(key, record []byte) {
	binary.LittleEndian.PutUint32(record[1:], checksum(key, record))
}

func checksum(key, record []byte) uint32 {
	return crc32.Update(crc32.Checksum(key, castagnoli), castagnoli, record[recordHeader:])
}

// decode reads a record into memory of its own.
func decode(key, record []byte) (m hubconn.Message, kept time.Time, err error) {
	if len(record) < recordHeader || record[0] != recordVersion ||
		binary.LittleEndian.Uint32(record[1:]) != checksum(key, record) {
		return m, kept, errRecord
	}
	r := reader{rest: record[recordHeader:]}
	kept = time.UnixMilli(r.varint())
	switch created := r.varint(); {
	case created > 0:
		m.CreationTime = time.UnixMilli(created - 1).UTC()
	case created < 0:
		m.CreationTime = time.UnixMilli(created).UTC()
	}
	for _, s := range []*string{
		&m.MessageID, &m.CorrelationID, &m.ContentType, &m.ContentEncoding, &m.Component, &m.Output,
	} {
		*s = r.text()
	}
	for n := r.uvarint(); n > 0 && !r.failed; n-- {
		if m.Properties == nil {
			m.Properties = make(map[string]string, min(n, 16))
		}
		name := r.text()
		m.Properties[name] = r.text()
	}
	if r.failed {
		return hubconn.Message{}, time.Time{}, errRecord
	}
	m.Body = append([]byte{}, r.rest...)
	return m, kept, nil
}

// reader takes a record apart. What is not there fails, and everything after it.
type reader struct {
	rest   []byte
	failed bool
}

func (r *reader) varint() int64 {
	v, n := binary.Varint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *reader) text() string {
	n := r.uvarint()
	if n > uint64(len(r.rest)) {
		r.failed = true
	}
	if r.failed {
		return ""
	}
	s := string(r.rest[:n])
	r.rest = r.rest[n:]
	return s
}

func (r *reader) skip(n int) {
	if n <= 0 {
		r.failed = true
	}
	if !r.failed {
		r.rest = r.rest[n:]
	}
}

// messageID is the ID of a message that its sender gave none: the same at each delivery, and no
// other message's, of this file or another.
func messageID(file string, sequence uint64) string { return fmt.Sprintf("%s-%d", file, sequence) }
