// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"slices"
	"time"
)

// Attempt is one try of a device to get in: a CONNECT, or a WebSocket upgrade that was refused
// before there was one, or a connection of AMQP.
type Attempt struct {
	// Time is when the attempt arrived, by the services' clock ([simnet.Network.Now]).
	Time time.Time
	// DeviceID is the client ID: "device", or "device/module". It is "" for an upgrade.
	DeviceID string
	// Transport is "mqtt" or "ws" (MQTT over WebSocket); or "amqp" or "amqp-ws" (AMQP over
	// WebSocket), which are always refused.
	Transport string
	// Answered says that a CONNACK or an HTTP response was sent. It is false while there is none.
	Answered bool
	// ReturnCode is that of the CONNACK: 0 accepts.
	ReturnCode byte
	// Status is the HTTP status of a refused upgrade; 0 for a CONNECT.
	Status int
	// Reason is why the attempt was refused, for people: the device is not told. "" if it was not.
	Reason string
	// ModelID is the IoT Plug and Play model that the device announced, "" for none.
	ModelID string
	// ClientType is the DeviceClientType of the user name: what the device says it is.
	ClientType string
}

// Accepted reports whether the device got in.
func (a Attempt) Accepted() bool {
	return a.Answered && a.ReturnCode == 0 && a.Status == 0 && a.Transport != "amqp"
}

// Attempts returns the log of tries, in the order of their arrival. Each of a hub's logs holds the
// newest 100,000 entries, and no more of them than have 64 MB together: a simulator may run for
// months.
func (h *Hub) Attempts() []Attempt {
	all, _ := h.AttemptsFrom(0)
	return all
}

// AttemptsFrom returns what is in the log of tries at a position and behind it, and the position of
// the try to come, for the next call: so a reader copies only what is new. It begins at 0, and each
// entry has the position after its neighbor's, the last of them next-1. Entries that are gone are
// missing at the beginning. An entry is logged when a try arrives, and changes when it is answered.
func (h *Hub) AttemptsFrom(position int) (attempts []Attempt, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.attempts.From(position)
}

// Messages returns the telemetry received, in order, duplicates included.
func (h *Hub) Messages() []Message {
	all, _ := h.MessagesFrom(0)
	return all
}

// MessagesFrom returns the telemetry received from a position of the log on, as AttemptsFrom does.
func (h *Hub) MessagesFrom(position int) (messages []Message, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.messages.From(position)
}

// ResetLog empties the logs: of attempts, messages, operations, settled cloud-to-device messages
// and uploads that have ended. Positions go on.
func (h *Hub) ResetLog() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts.Reset()
	h.messages.Reset()
	h.operations.Reset()
	h.settled.Reset()
	h.uploads = slices.DeleteFunc(h.uploads, func(u *Upload) bool { return !u.Ended.IsZero() })
}

// A try is an attempt, and its place in the log. It outlives its entry there.
type try struct {
	Attempt
	position int
}

// logAttempt logs a try that has no response yet.
func (h *Hub) logAttempt(a Attempt) *try {
	a.Time = h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	return &try{a, h.attempts.Append(a)}
}

// concludeAttempt logs how a try was answered.
func (h *Hub) concludeAttempt(t *try, returnCode byte, status int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.Answered, t.ReturnCode, t.Status, t.Reason = true, returnCode, status, reason
	h.attempts.Update(t.position, func(a *Attempt) { *a = t.Attempt })
	if !t.Accepted() { // a connection is recorded when it is the device's
		h.recordRefused(&t.Attempt)
	}
}

// Operation is one thing that a device had the hub do, other than to connect and to send telemetry
// over MQTT: those are in the logs of [Hub.Attempts] and [Hub.Messages].
type Operation struct {
	// Time is when the hub responded, by the services' clock ([simnet.Network.Now]).
	Time time.Time
	// On is the kind of operation: TwinGet, TwinPatch, or one of the stages from Send on.
	On Stage
	// DeviceID is the device, or "device/module".
	DeviceID string
	// Transport is "mqtt", "ws" (MQTT over WebSocket) or "https".
	Transport string
	// Status is the status of the response: of HTTPS, or of a twin operation. 0 means that none was
	// sent.
	Status int
	// Code is the hub's six-digit error code, 0 for none.
	Code int
	// Detail is the name of the blob; "" for all other operations.
	Detail string
	// Reason says why a request over HTTPS was refused, for people, where its sender or its
	// credential was why. The device was not told, as the service does not tell it.
	Reason string
}

// Operations returns the log of operations, in the order of their responses.
func (h *Hub) Operations() []Operation {
	all, _ := h.OperationsFrom(0)
	return all
}

// OperationsFrom returns the operations from a position of the log on, as AttemptsFrom does.
func (h *Hub) OperationsFrom(position int) (operations []Operation, next int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.operations.From(position)
}

func (h *Hub) logOperation(o Operation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.addOperation(o)
}

func (h *Hub) addOperation(o Operation) {
	o.Time = h.network.Now()
	h.operations.Append(o)
	h.recordOperation(&o)
}

// logOverhead is what an entry of a log takes besides its texts and bodies, about: its fields, and
// the maps of properties.
const logOverhead = 256

// The texts in these are the client's.

func attemptSize(a *Attempt) int {
	return logOverhead + len(a.DeviceID) + len(a.Reason) + len(a.ModelID) + len(a.ClientType)
}

func messageSize(m *Message) int {
	return 2*logOverhead + m.size() + 64*(len(m.Properties)+len(m.System))
}

func operationSize(o *Operation) int { return logOverhead + len(o.DeviceID) + len(o.Detail) }

func settledSize(s *Settled) int {
	n := 2*logOverhead + len(s.Body) + len(s.MessageID) + len(s.CorrelationID) + len(s.UserID) +
		len(s.ContentType) + len(s.ContentEncoding) + len(s.To)
	for name, value := range s.Properties {
		n += 64 + len(name) + len(value)
	}
	return n
}
