// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// translation is a connection over which a client of MQTT 5 talks to a server of MQTT 3.1.1. It
// rewrites each packet: properties are left out on the way to the server, and none come from there,
// so that the client has nothing of MQTT 5 but its interface. What IoT Hub does not do anyway (QoS
// 2, shared subscriptions) is not translated.
//
// Sources: MQTT 3.1.1 and MQTT 5, sections 3.1 to 3.14 of both.
type translation struct {
	net.Conn
	connack returnCode

	in   *bufio.Reader
	left []byte // of a packet that was translated for the client

	mu  sync.Mutex
	out []byte // of a packet that the client has begun to write
}

// returnCode is that of the server's CONNACK, once it has come.
type returnCode struct{ atomic.Int32 }

func (c *returnCode) get() byte { return byte(c.Load()) }

// packets by the first four bits.
const (
	connect, connack, publish, puback = 1, 2, 3, 4
	subscribe, suback, pingreq        = 8, 9, 12
	pingresp, disconnect              = 13, 14
)

// longest is how long a packet may be: IoT Hub sends none of more than 256 KB and its topic.
const longest = 512 << 10

var errMalformed = errors.New("mqtt: malformed packet")

func newTranslation(conn net.Conn) *translation {
	return &translation{Conn: conn, in: bufio.NewReader(conn)}
}

// Write takes what the client writes, packet by packet, in pieces of any size.
func (t *translation) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.out = append(t.out, b...)
	for {
		head, body, rest, ok := split(t.out)
		if !ok {
			if len(t.out) > longest {
				return 0, errMalformed
			}
			return len(b), nil
		}
		body, err := toServer(head, body)
		if err != nil {
			return 0, err
		}
		if _, err := t.Conn.Write(packet(head, body)); err != nil {
			return 0, err
		}
		t.out = append(t.out[:0:0], rest...)
	}
}

// Read gives the client what the server has written.
func (t *translation) Read(b []byte) (int, error) {
	if len(t.left) == 0 {
		head, err := t.in.ReadByte()
		if err != nil {
			return 0, err
		}
		n, err := binary.ReadUvarint(t.in)
		if err != nil || n > longest {
			return 0, errors.Join(errMalformed, err)
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(t.in, body); err != nil {
			return 0, err
		}
		if head>>4 == connack && len(body) == 2 {
			t.connack.Store(int32(body[1]))
		}
		if body, err = toClient(head, body); err != nil {
			return 0, err
		}
		t.left = packet(head, body)
	}
	n := copy(b, t.left)
	t.left = t.left[n:]
	return n, nil
}

// split cuts the first packet off. The remaining length is a base-128 number of at most four bytes,
// least part first, as Go's uvarint is (MQTT 3.1.1 §2.2.3).
func split(b []byte) (head byte, body, rest []byte, ok bool) {
	if len(b) < 2 {
		return 0, nil, nil, false
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || uint64(len(b)-1-size) < n {
		return 0, nil, nil, false
	}
	start := 1 + size
	return b[0], b[start : start+int(n)], b[start+int(n):], true
}

func packet(head byte, body []byte) []byte {
	return append(binary.AppendUvarint([]byte{head}, uint64(len(body))), body...)
}

// toServer rewrites the body of a packet of MQTT 5.
func toServer(head byte, body []byte) ([]byte, error) {
	switch head >> 4 {
	case connect:
		return connectToServer(body)
	case publish:
		at := 2 + fieldLen(body)
		if head&0x06 != 0 {
			at += 2 // the packet ID
		}
		return withoutProperties(body, at)
	case puback:
		return body[:min(2, len(body))], nil // the packet ID, without a reason
	case subscribe:
		body, err := withoutProperties(body, 2)
		for at := 2; err == nil && at < len(body); at++ { // the options behind each filter
			if at += 2 + fieldLen(body[at:]); at >= len(body) {
				return nil, errMalformed
			}
			body[at] &= 0x03 // the QoS
		}
		return body, err
	case pingreq:
		return body, nil
	case disconnect:
		return nil, nil
	}
	return nil, fmt.Errorf("mqtt: a packet of type %d is not translated", head>>4)
}

// connectToServer: the name of the protocol and its level, flags and keep-alive are followed by
// properties, and so are the fields of a will.
func connectToServer(body []byte) ([]byte, error) {
	const level, flags, properties = 6, 7, 10
	if len(body) < properties || fieldLen(body) != len("MQTT") {
		return nil, errMalformed
	}
	body, err := withoutProperties(body, properties)
	if err == nil && body[flags]&0x04 != 0 {
		body, err = withoutProperties(body, properties+2+fieldLen(body[properties:]))
	}
	if err != nil {
		return nil, err
	}
	body[level] = 4
	return body, nil
}

// toClient rewrites the body of a packet of MQTT 3.1.1.
func toClient(head byte, body []byte) ([]byte, error) {
	switch head >> 4 {
	case connack:
		if len(body) != 2 {
			return nil, errMalformed
		}
		const maximumQoS = 0x24
		return []byte{body[0], reasonCode(body[1]), 2, maximumQoS, 1}, nil
	case publish:
		at := 2 + fieldLen(body)
		if head&0x06 != 0 {
			at += 2
		}
		return withNoProperties(body, at)
	case suback:
		return withNoProperties(body, 2)
	case puback, pingresp:
		return body, nil
	}
	return nil, fmt.Errorf("mqtt: a packet of type %d is not translated", head>>4)
}

// reasonCode is that of MQTT 5 for a return code of MQTT 3.1.1.
func reasonCode(code byte) byte {
	reasons := [...]byte{0: 0, 1: 0x84, 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87}
	if int(code) < len(reasons) {
		return reasons[code]
	}
	return 0x80
}

// fieldLen is the length of a field that begins with its length.
func fieldLen(b []byte) int {
	if len(b) < 2 {
		return len(b)
	}
	return int(binary.BigEndian.Uint16(b))
}

// withoutProperties leaves out the properties that stand at a place: their length and they.
func withoutProperties(body []byte, at int) ([]byte, error) {
	if at > len(body) {
		return nil, errMalformed
	}
	n, size := binary.Uvarint(body[at:])
	if size <= 0 || n > uint64(len(body)-at-size) {
		return nil, errMalformed
	}
	return append(append([]byte{}, body[:at]...), body[at+size+int(n):]...), nil
}

// withNoProperties puts in that there are none.
func withNoProperties(body []byte, at int) ([]byte, error) {
	if at > len(body) {
		return nil, errMalformed
	}
	return append(append(append([]byte{}, body[:at]...), 0), body[at:]...), nil
}

// witness sees the CONNACK that a client of MQTT 5 cannot read.
type witness struct {
	net.Conn
	connack returnCode
	first   []byte
}

func (w *witness) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	if len(w.first) < 4 {
		w.first = append(w.first, b[:min(n, 4-len(w.first))]...)
		if len(w.first) == 4 && w.first[0]>>4 == connack && w.first[1] == 2 {
			w.connack.Store(int32(w.first[3]))
		}
	}
	return n, err
}
