package dpstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// An Op is a kind of request. It is one of the constants; a [Fault] also has the empty one, for
// any.
type Op string

// The kinds of request a [Server] knows.
const (
	// Register asks for a registration.
	Register Op = "register"
	// Poll asks how a registration goes on.
	Poll Op = "poll"
	// Lookup asks for the registration record: the device registration status lookup. HTTPS only.
	Lookup Op = "lookup"
	// Connect is an MQTT CONNECT, or a WebSocket upgrade that was refused.
	Connect Op = "connect"
	// Service is a request of an operator. HTTPS only.
	Service Op = "service"
	// Clock is any other HTTP request: all that it yields is a Date.
	Clock Op = "clock"
)

var ops = []string{
	string(Register), string(Poll), string(Lookup), string(Connect), string(Service), string(Clock),
}

// String returns the kind's text.
func (o Op) String() string { return string(o) }

// MarshalText returns the kind's text.
func (o Op) MarshalText() ([]byte, error) { return []byte(o), nil }

// UnmarshalText reads the text of a kind; the empty text is the empty Op. An unknown text is an
// error that lists the known ones.
func (o *Op) UnmarshalText(text []byte) error {
	if len(text) > 0 && !slices.Contains(ops, string(text)) {
		return fmt.Errorf("%q is unknown: use %s, or leave it out", text, strings.Join(ops, ", "))
	}
	*o = Op(text)
	return nil
}

// Values of Request.Transport.
const (
	// HTTPS is one request, one response.
	HTTPS = "https"
	// MQTT is MQTT 3.1.1 on port 8883.
	MQTT = "mqtt"
	// WebSocket is MQTT 3.1.1 over a WebSocket on port 443.
	WebSocket = "ws"
)

// A Request is an entry of the request log.
type Request struct {
	// Time is when the request arrived, by time.Now, whatever the network's clock offset.
	Time time.Time
	// Op is the kind of request: what the device or operator wanted.
	Op Op
	// Transport is HTTPS, MQTT or WebSocket.
	Transport string
	// RegistrationID is the device's as it wrote it; "" for Clock, for operators, and for a refused
	// upgrade.
	RegistrationID string
	// OperationID is the operation that was polled, or that the device was given; "" for none.
	OperationID string
	// APIVersion is the api-version as the device wrote it.
	APIVersion string
	// Payload is the custom payload of the device, nil for none.
	Payload json.RawMessage
	// Status is the HTTP status of the response, over MQTT too. It is 0 while there is none, and
	// for a CONNECT.
	Status int
	// Code is the six-digit error code of the response, 0 for none.
	Code int
	// ReturnCode is that of the CONNACK; 0 for all but a refused CONNECT.
	ReturnCode byte
	// Answered is when the response was sent, by time.Now. It is zero while there is none.
	Answered time.Time
	// RetryAfter is the Retry-After of the response, as it was sent; "" for none.
	RetryAfter string
	// Note says of a register request that its client is of before native reprovisioning, and what
	// that means for the device, in one line for people; "" for any other.
	Note string
}

// maxRequests is how many entries the log keeps; the oldest go first. Count counts them all.
const maxRequests = 100_000

type requestLog struct {
	mu      sync.Mutex
	entries []*Request
	counts  map[Op]int
}

// add logs a request when it arrives, so that requests that are never answered are seen too.
func (l *requestLog) add(r Request) *Request {
	r.Time = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.counts == nil {
		l.counts = map[Op]int{}
	}
	if len(l.entries) == maxRequests {
		l.entries = slices.Delete(l.entries, 0, maxRequests/10)
	}
	l.entries = append(l.entries, &r)
	l.counts[r.Op]++
	return &r
}

// update changes an entry under the log's lock.
func (l *requestLog) update(r *Request, change func(*Request)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(r)
}

// Requests returns every request since the last ResetLog, in order of arrival: at least the last
// 90,000.
func (s *Server) Requests() []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	all := make([]Request, len(s.log.entries))
	for i, r := range s.log.entries {
		all[i] = *r
	}
	return all
}

// RequestsFrom returns the entries of the request log from a position on, and the position of the
// next one: a program that follows the log begins with 0 and goes on with what it was told. Entries
// that the log has lost by then are left out, and after a ResetLog it begins again. An entry that
// has no response yet is not returned again when it gets one, unless the program asks for its
// position again.
func (s *Server) RequestsFrom(position int) (entries []Request, next int) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	for _, n := range s.log.counts {
		next += n
	}
	first := next - len(s.log.entries)
	if position > next || position < first {
		position = first
	}
	for _, r := range s.log.entries[position-first:] {
		entries = append(entries, *r)
	}
	return entries, next
}

// Count returns how many requests of the given kinds came since the last ResetLog. When none is
// given it counts all but operators'.
func (s *Server) Count(ops ...Op) int {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	n := 0
	for op, count := range s.log.counts {
		if len(ops) == 0 && op != Service || slices.Contains(ops, op) {
			n += count
		}
	}
	return n
}

// ResetLog empties the request log.
func (s *Server) ResetLog() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.entries, s.log.counts = nil, nil
}
