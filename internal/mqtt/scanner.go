// SPDX-License-Identifier: Apache-2.0

package mqtt

import "fmt"

// Packet types of MQTT 3.1.1 §2.2.1 that this package names.
const (
	typeConnect     = 1
	typeConnack     = 2
	typePublish     = 3
	typePuback      = 4
	typeSubscribe   = 8
	typeSuback      = 9
	typeUnsubscribe = 10
	typeUnsuback    = 11
	typePingreq     = 12
	typePingresp    = 13
)

// maxSmall is the longest body of a packet that is not a PUBLISH: a SUBACK, which has a packet
// identifier and one return code, since a SUBSCRIBE has one filter.
const maxSmall = 3

// maxLeftOut is the longest PUBLISH that is read past: no broker has longer ones for a device, and
// the bytes may be paid for.
const maxLeftOut = 4 << 20

// scanner follows the packet framing of the bytes a server sends, however they are split, and ends
// at the first packet that must not reach Paho: a SUBACK with another number of codes than the
// SUBSCRIBE has filters (Paho panics), a CONNACK out of place or one that refuses (Paho treats
// unknown codes as success), anything only a client may send. A PUBLISH longer than the limit must
// not either (Paho allocates what a header announces); the stream may go on behind it.
type scanner struct {
	_ [0]func() // never compared, which saves code in a device's program

	limit     int  // largest remaining length of a PUBLISH that is let through
	leavesOut bool // a longer one does not end the stream

	connected bool // a CONNACK was seen

	inBody bool
	header byte
	head   [5]byte // the fixed header as it came
	digits int     // length digits read
	length int     // remaining length announced
	got    int     // body bytes seen
	body   [maxSmall]byte

	left bool   // out: it is a PUBLISH that is too long
	id   uint16 // its packet identifier
}

// event is a packet that has arrived whole and is not a PUBLISH, or one that was left out.
type event struct {
	kind byte
	id   uint16 // its packet identifier; of a PUBLISH of QoS 0: 0
	size int    // of a PUBLISH
}

// feed reads the next bytes of the stream, appends to out what Paho may have of them, and returns
// that. With an error, the stream ends there. Each packet but a PUBLISH that is not too long is
// reported to pass, in order, which says whether Paho is to have it; out has it whole then, or not
// at all.
//
// out may be the memory before p: no more is appended than was read, but for a small packet's bytes
// that came before, which are fewer than maxHeld.
func (s *scanner) feed(p, out []byte, pass func(event) bool) ([]byte, error) {
	for len(p) > 0 {
		if !s.inBody {
			if err := s.fixedHeader(p[0]); err != nil {
				return out, err
			}
			p = p[1:]
			if s.inBody {
				if s.passes() {
					out = append(out, s.head[:1+s.digits]...)
				}
				if s.length == 0 {
					out = s.finish(out, pass)
				}
			}
			continue
		}
		n := min(len(p), s.length-s.got)
		before := s.got
		if before < maxSmall {
			copy(s.body[before:], p[:n])
		}
		s.got += n
		if err := s.checkBody(before); err != nil {
			return out, err
		}
		if s.passes() {
			out = append(out, p[:n]...)
		} else if s.left {
			s.identify(p[:n], before)
		}
		p = p[n:]
		if s.got == s.length {
			out = s.finish(out, pass)
		}
	}
	return out, nil
}

// maxHeld is above what feed may hold back of a packet whose end has not come.
const maxHeld = 8

// fixedHeader reads one byte of a fixed header.
func (s *scanner) fixedHeader(b byte) error {
	if s.header == 0 {
		s.header, s.head[0] = b, b
		return s.checkType()
	}
	s.length |= int(b&0x7f) << (7 * s.digits)
	s.digits++
	s.head[s.digits] = b
	if b&0x80 != 0 {
		if s.digits == 4 {
			return &ProtocolError{Reason: "a remaining length of more than four bytes"}
		}
		return nil
	}
	s.inBody = true
	return s.checkLength()
}

func (s *scanner) kind() byte { return s.header >> 4 }

// passes says that the packet is a PUBLISH that Paho is to have.
func (s *scanner) passes() bool { return s.kind() == typePublish && !s.left }

// identify looks for the packet identifier of a PUBLISH in the part of its body that begins at an
// offset; it stands behind the topic.
func (s *scanner) identify(part []byte, offset int) {
	if s.header>>1&3 == 0 || s.got < 2 {
		return
	}
	at := 2 + (int(s.body[0])<<8 | int(s.body[1]))
	for i := range 2 {
		if n := at + i - offset; n >= 0 && n < len(part) {
			s.id |= uint16(part[n]) << (8 * (1 - i))
		}
	}
}

func (s *scanner) checkType() error {
	kind, flags := s.kind(), s.header&0x0f
	if !s.connected && kind != typeConnack {
		return &ProtocolError{
			Reason: fmt.Sprintf("first packet has type %d instead of CONNACK", kind),
		}
	}
	switch kind {
	case typeConnack:
		if s.connected {
			return &ProtocolError{Reason: "a second CONNACK"}
		}
	case typePublish:
		// Only QoS 0 and 1 are ever subscribed to.
		if qos := flags >> 1 & 3; qos > 1 {
			return &ProtocolError{Reason: fmt.Sprintf("a PUBLISH of QoS %d", qos)}
		}
		return nil
	case typePuback, typeSuback, typeUnsuback, typePingresp:
	default:
		return &ProtocolError{Reason: fmt.Sprintf("a packet of type %d", kind)}
	}
	if flags != 0 {
		return &ProtocolError{
			Reason: fmt.Sprintf("reserved flags 0x%x in a packet of type %d", flags, kind),
		}
	}
	return nil
}

func (s *scanner) checkLength() error {
	want := -1
	switch s.kind() {
	case typeConnack, typePuback, typeUnsuback:
		want = 2
	case typeSuback:
		want = maxSmall
	case typePingresp:
		want = 0
	case typePublish:
		if s.length < s.publishHead() {
			return &ProtocolError{Reason: fmt.Sprintf("a PUBLISH of %d bytes", s.length)}
		}
	}
	if want >= 0 && s.length != want {
		return &ProtocolError{Reason: fmt.Sprintf(
			"a packet of type %d with %d bytes instead of %d", s.kind(), s.length, want,
		)}
	}
	s.left = s.length > s.limit // no other packet is that long
	if s.left && (!s.leavesOut || s.length > maxLeftOut) {
		return &ProtocolError{Reason: fmt.Sprintf(
			"a packet of %d bytes announced, the limit is %d", s.length, s.limit,
		)}
	}
	return nil
}

// publishHead is the length of a PUBLISH with an empty topic and no payload.
func (s *scanner) publishHead() int {
	if s.header>>1&3 > 0 {
		return 4
	}
	return 2
}

// checkBody checks a packet by its first two body bytes, when they have just become known.
func (s *scanner) checkBody(before int) error {
	if before >= 2 || s.got < 2 {
		return nil
	}
	switch s.kind() {
	case typePublish:
		if topic := int(s.body[0])<<8 | int(s.body[1]); topic+s.publishHead() > s.length {
			return &ProtocolError{Reason: "a PUBLISH whose topic is longer than the packet"}
		}
	case typeConnack:
		s.connected = true
		if code := s.body[1]; code != 0 {
			return &RefusedError{Code: code}
		}
	}
	return nil
}

// rest is how many bytes are still to come of a PUBLISH that has been checked: whatever they are,
// they may pass.
func (s *scanner) rest() int {
	if !s.inBody || !s.passes() || s.got < 2 {
		return 0
	}
	return s.length - s.got
}

// skip notes that so many of them have passed by other ways.
func (s *scanner) skip(n int) {
	if s.got += n; n > 0 && s.got == s.length {
		s.next()
	}
}

// finish ends a packet.
func (s *scanner) finish(out []byte, pass func(event) bool) []byte {
	if s.left {
		pass(event{kind: typePublish, id: s.id, size: s.length})
	} else if s.kind() != typePublish {
		e := event{kind: s.kind(), id: uint16(s.body[0])<<8 | uint16(s.body[1])}
		if pass(e) {
			out = append(append(out, s.header, byte(s.length)), s.body[:s.length]...)
		}
	}
	s.next()
	return out
}

func (s *scanner) next() {
	*s = scanner{limit: s.limit, leavesOut: s.leavesOut, connected: s.connected}
}
