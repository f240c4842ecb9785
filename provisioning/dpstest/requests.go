package dpstest

import (
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// An Op is a kind of request.
type Op string

// The kinds of request a [Server] knows.
const (
	Register Op = "register" // asks for a registration
	Poll     Op = "poll"     // asks how a registration goes on
	Lookup   Op = "lookup"   // asks for the registration record; HTTPS only
	Connect  Op = "connect"  // an MQTT CONNECT, or a WebSocket upgrade that was refused
	Service  Op = "service"  // a request of an operator; HTTPS only
	Clock    Op = "clock"    // any other HTTP request: all it yields is a Date
)

// Values of Request.Transport.
const (
	HTTPS     = "https"
	MQTT      = "mqtt"
	WebSocket = "ws"
)

// A Request is an entry of the request log.
type Request struct {
	Time           time.Time // of arrival, by the tester's clock, whatever the network's clock offset
	Op             Op
	Transport      string // HTTPS, MQTT or WebSocket
	RegistrationID string
	OperationID    string          // polled, or given to the device
	APIVersion     string          // as the device wrote it
	Payload        json.RawMessage // custom payload of the device
	Status         int             // of the answer; 0 while there is none, and for CONNECT
	Code           int             // six-digit error code of the answer
	ReturnCode     byte            // of the CONNACK
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

// Requests returns every request since the last ResetLog, in order of arrival: at least the last 90,000.
func (s *Server) Requests() []Request {
	s.log.mu.Lock()
	defer s.log.mu.Unlock()
	all := make([]Request, len(s.log.entries))
	for i, r := range s.log.entries {
		all[i] = *r
	}
	return all
}

// Count returns how many requests of the given kinds came since the last ResetLog. When none is given it counts all but
// operators'.
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
