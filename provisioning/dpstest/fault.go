package dpstest

import (
	"cmp"
	"context"
	"strings"
	"sync"
	"time"
)

// A Fault makes the server misbehave. Its first fields say when, the others how; those that are set combine. A Fault
// that only delays, or only changes the Retry-After or drops the operation, lets the request be carried out. One
// that answers with Status, Code or Body, does not answer, or cuts the connection, stands in for carrying it out,
// unless Perform is set.
type Fault struct {
	On             Op     // "" for any but Service
	RegistrationID string // "" for any; requests without one (Clock) match only ""
	Transport      string // "" for any
	Skip           int    // so many matching requests are let through first
	Times          int    // how often the fault strikes: 0 for once, -1 until ClearFaults

	// Perform carries the request out and spoils only its answer: the effects of a register request that is "cut"
	// then stay.
	Perform bool

	Status  int    // HTTP status, also of MQTT's response topic. On Connect: of the WebSocket upgrade
	Code    int    // six-digit error code; Status defaults to Code/1000, and Code to one that fits Status
	Message string // of the error body

	RetryAfter   string // raw: seconds, an HTTP date or nonsense. "" leaves it as it is, and errors have none
	NoRetryAfter bool   // the answer carries no Retry-After

	Body        []byte // raw answer, in place of the JSON
	ContentType string // of Body. Default JSON

	ReturnCode      byte // of the CONNACK
	SubackFailure   bool // SUBSCRIBE is answered 0x80. Such a fault concerns nothing else
	Stale           bool // MQTT: the answer is preceded by a copy of it under another request ID
	Twice           bool // MQTT: the answer comes twice
	RetryAfterFirst bool // MQTT: the topic names retry-after before $rid
	Delay           time.Duration
	NoAnswer        bool // nothing comes back, and the connection stays open
	Cut             bool // the connection is closed in place of the answer
	CutAfter        int  // the connection is closed after so many bytes of the answer's body. HTTPS only
	DropOperation   bool // the operation is lost: polls are answered 404203
}

// replaces says whether the fault answers in place of the server.
func (f *Fault) replaces() bool {
	return f.Status >= 400 || f.Code != 0 || f.Body != nil || f.NoAnswer || f.Cut
}

type activeFault struct {
	Fault
	skip, left int // left < 0: for ever
}

type faultList struct {
	mu     sync.Mutex
	faults []*activeFault
}

// Inject adds a fault. Of several that match a request, the one that was injected first strikes.
func (s *Server) Inject(f Fault) {
	left := f.Times
	if left == 0 {
		left = 1
	}
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.faults = append(s.faults.faults, &activeFault{Fault: f, skip: f.Skip, left: left})
}

// ClearFaults takes all faults back. Requests that a fault already holds are not released.
func (s *Server) ClearFaults() {
	s.faults.mu.Lock()
	defer s.faults.mu.Unlock()
	s.faults.faults = nil
}

// occasion is where a fault may strike.
type occasion struct {
	op             Op
	registrationID string
	transport      string
	upgrade        bool // a WebSocket upgrade, not the CONNECT after it
	subscribe      bool
}

// take returns the fault that strikes, or nil, and uses it up.
func (l *faultList) take(o occasion) *Fault {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, f := range l.faults {
		if !f.matches(o) {
			continue
		}
		if f.skip > 0 {
			f.skip--
			continue
		}
		if f.left > 0 {
			if f.left--; f.left == 0 {
				l.faults = append(l.faults[:i:i], l.faults[i+1:]...)
			}
		}
		taken := f.Fault
		return &taken
	}
	return nil
}

func (f *activeFault) matches(o occasion) bool {
	if f.SubackFailure || o.subscribe {
		return f.SubackFailure && o.subscribe && f.concerns(o)
	}
	if f.On != o.op && (f.On != "" || o.op == Service) {
		return false
	}
	if o.op == Connect {
		// The status of an upgrade can only be told to an upgrade, and everything else only to a CONNECT.
		if status := f.Status != 0 || f.Body != nil; status != o.upgrade {
			return false
		}
		return f.concerns(o)
	}
	return f.ReturnCode == 0 && f.concerns(o)
}

func (f *activeFault) concerns(o occasion) bool {
	return (f.RegistrationID == "" || o.upgrade || strings.EqualFold(f.RegistrationID, o.registrationID)) &&
		(f.Transport == "" || f.Transport == o.transport)
}

// spoil turns an answer into the one the fault calls for.
func (s *Server) spoil(f *Fault, a answer) answer {
	status, code := f.Status, f.Code
	if status == 0 {
		status = code / 1000
	}
	if code == 0 && status >= 400 {
		code = codeFor(status)
	}
	if code != 0 {
		id := a.operationID
		a = s.refuse(code, f.Message)
		a.operationID = id
	}
	if status != 0 {
		a.status = status
	}
	if f.Body != nil {
		a.body, a.contentType = f.Body, cmp.Or(f.ContentType, contentJSON)
	}
	a.status, a.requestID = cmp.Or(a.status, 200), cmp.Or(a.requestID, newGUID())
	a.contentType = cmp.Or(a.contentType, contentJSON)
	if f.RetryAfter != "" {
		a.retryAfter = f.RetryAfter
	}
	if f.NoRetryAfter {
		a.retryAfter = ""
	}
	return a
}

func codeFor(status int) int {
	switch status {
	case 404:
		return codeNoRegistration
	case 409:
		return codeConflict
	case 429:
		return codeThrottled
	}
	return status * 1000
}

// pause waits, and reports false when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
