// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"bytes"
	"encoding/binary"
	"regexp"
	"strings"
)

// unit is what a client sends at a time: a request over HTTPS, or part of one, an MQTT packet, or a
// WebSocket frame with a packet in it.
type unit struct {
	title string // how it begins, for place.wanted; empty where it begins nothing
	raw   []byte
}

func (u unit) is(wanted []string) bool {
	for _, part := range wanted {
		if !strings.Contains(u.title, part) {
			return false
		}
	}
	return u.title != ""
}

// dialect takes what a client sends to pieces.
type dialect struct {
	mqtt, web bool // web: in WebSocket frames
	left      []byte
}

var requestLine = regexp.MustCompile(`^[A-Z]+ [^ \r]+ HTTP/1\.1\r\n`)

func (d *dialect) feed(p []byte) (units []unit) {
	if !d.mqtt && !d.web {
		line := string(requestLine.Find(p))
		d.web = strings.HasPrefix(line, "GET /$iothub/websocket")
		return []unit{{title: line, raw: bytes.Clone(p)}}
	}
	d.left = append(d.left, p...)
	for {
		size, packet := d.next()
		if size == 0 {
			return units
		}
		units = append(units, unit{title: titleOf(packet), raw: d.left[:size:size]})
		d.left = d.left[size:]
	}
}

// next is the length of the first unit, 0 where it is not whole, and the packet in it.
func (d *dialect) next() (size int, packet []byte) {
	if d.web {
		return frame(d.left)
	}
	length, head := binary.Uvarint(d.left[min(1, len(d.left)):])
	size = 1 + head + int(length)
	if head <= 0 || len(d.left) < size {
		return 0, nil
	}
	return size, d.left[:size]
}

// frame is a client's WebSocket frame (RFC 6455 §5.2), whose payload is masked.
func frame(b []byte) (size int, payload []byte) {
	if len(b) < 2 {
		return 0, nil
	}
	length, at := int(b[1]&0x7f), 2
	if length == 126 {
		if len(b) < 4 {
			return 0, nil
		}
		length, at = int(binary.BigEndian.Uint16(b[2:])), 4
	}
	if len(b) < at+4+length {
		return 0, nil
	}
	payload = bytes.Clone(b[at+4 : at+4+length])
	for i := range payload {
		payload[i] ^= b[at+i%4]
	}
	if b[0]&0x0f != 2 { // binary; others are of WebSocket itself
		payload = nil
	}
	return at + 4 + length, payload
}

func titleOf(packet []byte) string {
	if len(packet) < 2 {
		return ""
	}
	_, head := binary.Uvarint(packet[1:])
	body := packet[1+max(head, 0):]
	topic := func(at int) string {
		if len(body) < at+2 || len(body) < at+2+int(binary.BigEndian.Uint16(body[at:])) {
			return ""
		}
		return string(body[at+2 : at+2+int(binary.BigEndian.Uint16(body[at:]))])
	}
	switch packet[0] >> 4 {
	case 1:
		return "CONNECT"
	case 3:
		return "PUBLISH " + topic(0)
	case 8:
		return "SUBSCRIBE " + topic(2) // after the packet's identifier
	}
	return ""
}
