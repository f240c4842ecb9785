// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// readPacket reads one packet. A packet whose header announces more than limit bytes is refused
// unread, and memory is taken for bytes that arrived, not for bytes that were announced.
func readPacket(r io.Reader, limit int) (packets.ControlPacket, error) {
	header, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	if header.RemainingLength > limit {
		return nil, &Error{
			Op:  "read",
			Err: fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, header.RemainingLength, limit),
		}
	}
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, int64(header.RemainingLength)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return decode(header, body.Bytes())
}

// readHeader reads the fixed header: type, flags and remaining length (section 2.2).
func readHeader(r io.Reader) (packets.FixedHeader, error) {
	var h packets.FixedHeader
	var b [1]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return h, err
	}
	h.MessageType = b[0] >> 4
	h.Dup = b[0]&0x08 != 0
	h.Qos = b[0] >> 1 & 0x03
	h.Retain = b[0]&0x01 != 0
	if err := checkFlags(h.MessageType, b[0]&0x0f); err != nil {
		return h, err
	}
	for shift := 0; ; shift += 7 {
		if shift > 21 {
			return h, malformed("read", "remaining length of more than four bytes")
		}
		if _, err := io.ReadFull(r, b[:]); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return h, err
		}
		h.RemainingLength |= int(b[0]&0x7f) << shift
		if b[0]&0x80 == 0 {
			return h, nil
		}
	}
}

// checkFlags refuses types a client may not send, and reserved flags that are not as table 2.2 has
// them.
func checkFlags(kind, flags byte) error {
	switch kind {
	case packets.Publish:
		if flags&0x06 == 0x06 {
			return malformed("read", "publish with QoS 3")
		}
		if flags&0x06 == 0 && flags&0x08 != 0 {
			return malformed("read", "publish with QoS 0 marked as duplicate")
		}
	case packets.Subscribe, packets.Unsubscribe, packets.Pubrel:
		if flags != 0x02 {
			return malformed("read", "%s with flags %#x", packets.PacketNames[kind], flags)
		}
	case packets.Connect, packets.Puback, packets.Pubrec, packets.Pubcomp, packets.Pingreq,
		packets.Disconnect:
		if flags != 0 {
			return malformed("read", "%s with flags %#x", packets.PacketNames[kind], flags)
		}
	default:
		return malformed("read", "packet type %d from a client", kind)
	}
	return nil
}

// decode turns a body into a packet, and refuses whatever the codec would let pass: fields cut
// short (it fills them up with zeros), bytes left over, names that are no UTF-8.
func decode(h packets.FixedHeader, body []byte) (packets.ControlPacket, error) {
	cp, err := packets.NewControlPacketWithHeader(h)
	if err != nil {
		return nil, malformed("read", "%v", err)
	}
	if p, ok := cp.(*packets.ConnectPacket); ok && ofOtherLevel(body) {
		p.ProtocolName, p.ProtocolVersion = "MQTT", body[levelAt]
		return p, nil // what follows is laid out in another way, and the client refused anyway
	}
	rest := strict{body}
	if err := cp.Unpack(&rest); err != nil {
		return nil, malformed("read", "%s cut short", packets.PacketNames[h.MessageType])
	}
	// The codec reads UNSUBSCRIBE until a read fails, so a cut field shows as a wrong total only.
	if u, ok := cp.(*packets.UnsubscribePacket); ok {
		total := 2
		for _, t := range u.Topics {
			total += 2 + len(t)
		}
		if total != h.RemainingLength {
			return nil, malformed("read", "UNSUBSCRIBE cut short")
		}
	}
	if len(rest.b) > 0 {
		return nil, malformed(
			"read", "%s with %d bytes too many", packets.PacketNames[h.MessageType], len(rest.b),
		)
	}
	if err := check(cp); err != nil {
		return nil, err
	}
	return cp, nil
}

// levelAt is where a CONNECT has its protocol level, behind the protocol's name (section 3.1.2).
const levelAt = 6

// ofOtherLevel says that a CONNECT is one of a later MQTT, whose properties this codec would take
// for the client ID.
func ofOtherLevel(body []byte) bool {
	return len(body) > levelAt && string(body[:levelAt]) == "\x00\x04MQTT" && body[levelAt] > 4
}

func check(cp packets.ControlPacket) error {
	switch p := cp.(type) {
	case *packets.ConnectPacket:
		if p.ReservedBit != 0 || p.WillQos > 2 || !p.WillFlag && (p.WillQos != 0 || p.WillRetain) {
			return malformed("connect", "reserved connect flags set")
		}
		return checkText("connect", p.ProtocolName, p.ClientIdentifier, p.Username, p.WillTopic)
	case *packets.PublishPacket:
		if p.TopicName == "" || strings.ContainsAny(p.TopicName, "+#") {
			return malformed("publish", "no topic name: %q", p.TopicName)
		}
		if p.Qos > 0 && p.MessageID == 0 {
			return malformed("publish", "packet identifier 0")
		}
		return checkText("publish", p.TopicName)
	case *packets.SubscribePacket:
		if p.MessageID == 0 || len(p.Topics) == 0 {
			return malformed("subscribe", "without identifier or filter")
		}
		for i, f := range p.Topics {
			if f == "" || p.Qoss[i] > 2 {
				return malformed("subscribe", "filter %q at QoS %d", f, p.Qoss[i])
			}
		}
		return checkText("subscribe", p.Topics...)
	case *packets.UnsubscribePacket:
		if p.MessageID == 0 || len(p.Topics) == 0 {
			return malformed("unsubscribe", "without identifier or filter")
		}
		return checkText("unsubscribe", p.Topics...)
	}
	return nil
}

// checkText holds section 1.5.3: UTF-8, without the null character.
func checkText(op string, fields ...string) error {
	for _, f := range fields {
		if !utf8.ValidString(f) || strings.ContainsRune(f, 0) {
			return malformed(op, "text that is not UTF-8")
		}
	}
	return nil
}

// strict is a reader that gives all that is asked for, or fails.
type strict struct{ b []byte }

func (s *strict) Read(p []byte) (int, error) {
	if len(p) > len(s.b) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, s.b)
	s.b = s.b[n:]
	return n, nil
}
