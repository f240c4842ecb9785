// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/internal/boundedlog"
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
	// Issue is no request, but the moment of a registration at which a certificate is issued. A
	// [Fault] strikes there; no [Request] is of it.
	Issue Op = "issue"
)

var ops = []string{
	string(Register), string(Poll), string(Lookup), string(Connect), string(Service), string(Clock),
	string(Issue),
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
	// AMQP is AMQP on port 5671, which is not simulated: a Connect is all that comes of it.
	AMQP = "amqp"
	// AMQPWebSocket is AMQP over a WebSocket on port 443, which is not simulated either.
	AMQPWebSocket = "amqp-ws"
)

// A Request is an entry of the request log.
type Request struct {
	// Time is when the request arrived, by time.Now, whatever the network's clock offset.
	Time time.Time
	// Op is the kind of request: what the device or operator wanted.
	Op Op
	// Transport is HTTPS, MQTT or WebSocket; or AMQP or AMQPWebSocket, which are refused.
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
	// Method and Path are the HTTP method and the path, without the query, of an operator's
	// request; "" for a device's.
	Method, Path string
	// Answered is when the response was sent, by time.Now. It is zero while there is none.
	Answered time.Time
	// RetryAfter is the Retry-After of the response, as it was sent; "" for none.
	RetryAfter string
	// Note says of a register request that its client is of before native reprovisioning, and what
	// that means for the device, in one line for people; of a Connect by AMQP, what to use in its
	// place. "" for any other.
	Note string
	// Reason says why a device was refused, in one line for people: which of its credential, its
	// registration ID and its ID scope does not fit, and how. The device was not told; the service
	// does not tell it. "" if it was not refused, or by a fault.
	Reason string
}

type requestLog struct {
	mu      sync.Mutex
	entries *boundedlog.Log[Request]
	counts  map[Op]int // of those that are gone, too
}

func newRequestLog() requestLog {
	return requestLog{entries: boundedlog.New(requestSize), counts: map[Op]int{}}
}

// requestSize is what an entry takes in memory, about. Its texts are the client's.
func requestSize(r *Request) int {
	return 256 + len(r.RegistrationID) + len(r.OperationID) + len(r.APIVersion) + len(r.Payload) +
		len(r.Note) + len(r.Reason) + len(r.Path) + len(r.RetryAfter)
}

// An arrival is a request, and its place in the log. It outlives its entry there.
type arrival struct {
	Request
	position int
}

// add logs a request when it arrives, so that requests that are never answered are seen too.
func (l *requestLog) add(r Request) *arrival {
	r.Time = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[r.Op]++
	return &arrival{r, l.entries.Append(r)}
}

// conclude writes a request's response into its entry, and records it.
func (s *Server) conclude(a *arrival, change func(*Request)) {
	change(&a.Request)
	s.log.mu.Lock()
	s.log.entries.Update(a.position, func(r *Request) { *r = a.Request })
	s.log.mu.Unlock()
	s.recordRequest(a.Request)
}

// Requests returns the requests since the last ResetLog, in order of arrival: the newest 100,000,
// and no more of them than have 64 MB together.
func (s *Server) Requests() []Request {
	all, _ := s.RequestsFrom(0)
	return all
}

// RequestsFrom returns what is in the log of requests at a position and behind it, and the position
// of the request to come, for the next call: so a reader copies only what is new. It begins at 0,
// and each entry has the position after its neighbor's, the last of them next-1. Entries that are
// gone are missing at the beginning. An entry is logged when a request arrives, and changes when it
// is answered.
func (s *Server) RequestsFrom(position int) (requests []Request, next int) {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	return s.log.entries.From(position)
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

// ResetLog empties the request log. Positions go on.
func (s *Server) ResetLog() {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	s.log.entries.Reset()
	clear(s.log.counts)
}
