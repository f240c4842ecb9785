package mqtt

import "fmt"

// Packet types of MQTT 3.1.1 §2.2.1 that this package names.
const (
	typeConnect  = 1
	typeConnack  = 2
	typePublish  = 3
	typePuback   = 4
	typeSuback   = 9
	typeUnsuback = 11
	typePingreq  = 12
	typePingresp = 13
)

// scanner follows the packet framing of the bytes a server sends, however they are split, and stops
// them at the first packet that must not reach Paho: one longer than the limit (Paho allocates what
// a header announces), a SUBACK with another number of codes than the SUBSCRIBE has filters (Paho
// panics), a CONNACK out of place or one that refuses (Paho treats unknown codes as success),
// anything only a client may send.
type scanner struct {
	limit int // largest remaining length let through

	connected bool // a CONNACK was seen

	inBody bool
	header byte
	length int // remaining length announced
	digits int // length digits read
	shift  uint
	got    int     // body bytes seen
	prefix [2]byte // the first two of them
}

// event is a packet that has arrived whole.
type event struct {
	kind byte
	id   uint16 // the first two bytes of the body
}

// feed reads the next bytes of the stream and returns how many of them may be handed on. With an
// error, the byte at that index completes the offence. Each whole packet is reported to seen, in
// order.
func (s *scanner) feed(p []byte, seen func(event)) (int, error) {
	for i := 0; i < len(p); {
		if s.inBody {
			n := min(len(p)-i, s.length-s.got)
			for j := 0; s.got+j < len(s.prefix) && j < n; j++ {
				s.prefix[s.got+j] = p[i+j]
			}
			before := s.got
			s.got += n
			if err := s.checkBody(before); err != nil {
				return i, err
			}
			i += n
			if s.got == s.length {
				s.finish(seen)
			}
			continue
		}
		if err := s.head(p[i]); err != nil {
			return i, err
		}
		i++
		if s.inBody && s.length == 0 {
			s.finish(seen)
		}
	}
	return len(p), nil
}

// head reads one byte of a fixed header.
func (s *scanner) head(b byte) error {
	if s.header == 0 {
		s.header = b
		return s.checkType()
	}
	s.length |= int(b&0x7f) << s.shift
	s.shift += 7
	s.digits++
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

func (s *scanner) checkType() error {
	kind, flags := s.kind(), s.header&0x0f
	if !s.connected && kind != typeConnack {
		return &ProtocolError{Reason: fmt.Sprintf("first packet has type %d instead of CONNACK", kind)}
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
		return &ProtocolError{Reason: fmt.Sprintf("reserved flags 0x%x in a packet of type %d", flags, kind)}
	}
	return nil
}

func (s *scanner) checkLength() error {
	want := -1
	switch s.kind() {
	case typeConnack, typePuback, typeUnsuback:
		want = 2
	case typeSuback:
		want = 3 // packet identifier and one return code, since a SUBSCRIBE has one filter
	case typePingresp:
		want = 0
	case typePublish:
		if s.length < s.publishHead() {
			return &ProtocolError{Reason: fmt.Sprintf("a PUBLISH of %d bytes", s.length)}
		}
	}
	if want >= 0 && s.length != want {
		return &ProtocolError{Reason: fmt.Sprintf("a packet of type %d with %d bytes instead of %d", s.kind(), s.length, want)}
	}
	if s.length > s.limit {
		return &ProtocolError{Reason: fmt.Sprintf("a packet of %d bytes announced, the limit is %d", s.length, s.limit)}
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
	if before >= len(s.prefix) || s.got < len(s.prefix) {
		return nil
	}
	switch s.kind() {
	case typePublish:
		if topic := int(s.prefix[0])<<8 | int(s.prefix[1]); topic+s.publishHead() > s.length {
			return &ProtocolError{Reason: "a PUBLISH whose topic is longer than the packet"}
		}
	case typeConnack:
		s.connected = true
		if code := s.prefix[1]; code != 0 {
			return &RefusedError{Code: code}
		}
	}
	return nil
}

func (s *scanner) finish(seen func(event)) {
	e := event{kind: s.kind()}
	if s.length >= 2 {
		e.id = uint16(s.prefix[0])<<8 | uint16(s.prefix[1])
	}
	*s = scanner{limit: s.limit, connected: s.connected}
	seen(e)
}
