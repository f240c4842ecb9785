// SPDX-License-Identifier: Apache-2.0

package entry

import (
	"encoding/binary"
	"errors"

	"github.com/rehome-iot/rehome/internal/crc32c"
)

const (
	magic   = "RHME"
	version = 1
	head    = len(magic) + 1 + 4

	// Max is the size above which stored bytes are not even looked at.
	Max = 1 << 20
)

// Reasons why stored bytes are not used. Neither is an error to the program: the device asks DPS.
var (
	// ErrTorn is an entry that is damaged: cut short, changed, or not one at all.
	ErrTorn = errors.New("the stored entry is damaged")

	// ErrNewer is an entry in a format that this version does not know.
	ErrNewer = errors.New("the stored entry was written by a newer version")
)

// Frame puts body and seal into the form that is stored.
func Frame(body, seal []byte) []byte {
	b := append([]byte(magic), version)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	b = append(b, body...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(seal)))
	b = append(b, seal...)
	return binary.BigEndian.AppendUint32(b, crc32c.Checksum(b))
}

// Unframe takes stored bytes apart. It trusts none of them; the error is ErrTorn or ErrNewer.
func Unframe(data []byte) (body, seal []byte, err error) {
	if len(data) < head+2+4 || len(data) > Max || string(data[:len(magic)]) != magic {
		return nil, nil, ErrTorn
	}
	sum := binary.BigEndian.Uint32(data[len(data)-4:])
	if data = data[:len(data)-4]; crc32c.Checksum(data) != sum {
		return nil, nil, ErrTorn
	}
	switch found := data[len(magic)]; {
	case found > version:
		return nil, nil, ErrNewer
	case found < version:
		return nil, nil, ErrTorn
	}
	n := uint64(binary.BigEndian.Uint32(data[len(magic)+1:]))
	data = data[head:]
	if n+2 > uint64(len(data)) {
		return nil, nil, ErrTorn
	}
	body, data = data[:n], data[n:]
	if int(binary.BigEndian.Uint16(data)) != len(data)-2 {
		return nil, nil, ErrTorn
	}
	return body, data[2:], nil
}
