// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"cmp"
	"context"
	"encoding/json"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/uuid"
)

// A Fault makes the server misbehave. Its first fields say when, the others how; those that are set
// combine. A Fault that only delays, or only changes the Retry-After or drops the operation, lets
// the request be carried out. One that answers with Status, Code or Body, does not answer, or cuts
// the connection, stands in for carrying it out, unless Perform is set.
//
// In JSON it has the names of its tags, Delay is text, as "1m30s", and Body is text as it is; so
// files of faults hold it as it is.
type Fault struct {
	// On is the kind of request it strikes. Default: any but Service and Issue; with Chain, Issue.
	On Op `json:"on,omitempty"`
	// RegistrationID limits the fault to one device, whatever its letter case. Default: any.
	// Requests without one (Clock) match the default alone.
	RegistrationID string `json:"registrationId,omitempty"`
	// Transport limits the fault to HTTPS, MQTT or WebSocket. Default: any.
	Transport string `json:"transport,omitempty"`
	// Skip is how many matching requests pass before it strikes.
	Skip int `json:"skip,omitempty"`
	// Times is how often it strikes: 0 means once, -1 until ClearFaults.
	Times int `json:"times,omitempty"`
	// Perform carries the request out and changes only its response: the effects of a register
	// request that is "cut" then stay.
	Perform bool `json:"perform,omitempty"`

	// Status is the HTTP status, also of MQTT's response topic. On Connect it is that of the
	// WebSocket upgrade. Default: Code/1000.
	Status int `json:"status,omitempty"`
	// Code is the six-digit error code in the body. Default: one that fits a Status of 400 or more.
	Code int `json:"code,omitempty"`
	// Message is the text in the error body. Default: the service's for the code.
	Message string `json:"message,omitempty"`

	// RetryAfter is the Retry-After as it is: seconds, an HTTP date or nonsense. Default: that of
	// the response, and errors have none.
	RetryAfter string `json:"retryAfter,omitempty"`
	// NoRetryAfter takes the Retry-After out of the response.
	NoRetryAfter bool `json:"noRetryAfter,omitempty"`

	// Body is sent as it is in place of the JSON; an empty one that is not nil is an empty body.
	Body []byte `json:"body,omitempty"`
	// ContentType is Body's. Default: that of JSON.
	ContentType string `json:"contentType,omitempty"`

	// ReturnCode is that of the CONNACK. On Connect.
	ReturnCode byte `json:"returnCode,omitempty"`
	// SubackFailure answers a SUBSCRIBE with 0x80. Such a fault concerns nothing else.
	SubackFailure bool `json:"subackFailure,omitempty"`
	// Stale sends a copy of the response under another request ID before it. MQTT only.
	Stale bool `json:"stale,omitempty"`
	// Twice sends the response twice. MQTT only.
	Twice bool `json:"twice,omitempty"`
	// RetryAfterFirst names retry-after before $rid in the response's topic. MQTT only.
	RetryAfterFirst bool `json:"retryAfterFirst,omitempty"`
	// Delay is how long the response takes longer.
	Delay time.Duration `json:"delay,omitempty"`
	// NoAnswer sends nothing, and leaves the connection open.
	NoAnswer bool `json:"noAnswer,omitempty"`
	// Cut closes the connection in place of the response.
	Cut bool `json:"cut,omitempty"`
	// CutAfter closes the connection after so many bytes of the response's body. 0 means never.
	// HTTPS only.
	CutAfter int `json:"cutAfter,omitempty"`
	// DropOperation loses the operation: its polls are answered 404203.
	DropOperation bool `json:"dropOperation,omitempty"`

	// Chain is what is wrong with the certificate chain that a device is issued. On Issue, where
	// Code and Message alone matter besides: with a Code the registration fails. The device's
	// identity at the hub is one of certificates, whatever is wrong with the chain.
	Chain hubtest.ChainFault `json:"chain,omitempty"`
}

// plainFault is a Fault without its methods.
type plainFault Fault

// MarshalJSON writes the fault with Delay and Body as text. What is zero is left out, and bytes of
// Body that are not UTF-8 are replaced.
func (f Fault) MarshalJSON() ([]byte, error) {
	out := struct {
		plainFault
		Delay simnet.Duration `json:"delay,omitempty"`
		Body  *string         `json:"body,omitempty"`
	}{plainFault: plainFault(f), Delay: simnet.Duration(f.Delay)}
	if f.Body != nil {
		text := string(f.Body)
		out.Body = &text
	}
	return json.Marshal(out)
}

// UnmarshalJSON reads what MarshalJSON writes. A member that is absent leaves its field as it is.
func (f *Fault) UnmarshalJSON(data []byte) error {
	in := struct {
		*plainFault
		Delay *simnet.Duration `json:"delay"`
		Body  *string          `json:"body"`
	}{plainFault: (*plainFault)(f), Delay: (*simnet.Duration)(&f.Delay)}
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.Body != nil {
		f.Body = []byte(*in.Body)
	}
	return nil
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

// next returns the fault that strikes, or nil, and uses it up.
func (l *faultList) next(o occasion) *Fault {
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
		struck := f.Fault
		return &struck
	}
	return nil
}

func (f *activeFault) matches(o occasion) bool {
	if f.SubackFailure || o.subscribe {
		return f.SubackFailure && o.subscribe && f.concerns(o)
	}
	if issues := f.On == Issue || f.On == "" && f.Chain != ""; issues || o.op == Issue {
		return issues && o.op == Issue && f.concerns(o)
	}
	if f.On != o.op && (f.On != "" || o.op == Service) {
		return false
	}
	if o.op == Connect {
		// The status of an upgrade can only be told to an upgrade, and everything else only to a
		// CONNECT.
		if status := f.Status != 0 || f.Body != nil; status != o.upgrade {
			return false
		}
		return f.concerns(o)
	}
	return f.ReturnCode == 0 && f.concerns(o)
}

func (f *activeFault) concerns(o occasion) bool {
	return (f.RegistrationID == "" || o.upgrade || strings.EqualFold(
		f.RegistrationID, o.registrationID,
	)) && (f.Transport == "" || f.Transport == o.transport)
}

// applyFault turns a response into the one the fault calls for.
func (s *Server) applyFault(f *Fault, a response) response {
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
	a.status, a.requestID = cmp.Or(a.status, 200), cmp.Or(a.requestID, uuid.New())
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
