// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// ErrClosed is the cause of a connection's end when [Conn.Close] ended it.
var ErrClosed = errors.New("mqtt: connection closed")

// ErrOverflow is the cause of a connection's end when messages arrived faster than Options.Receive
// handled them. Those not acknowledged stay with the server.
var ErrOverflow = errors.New("mqtt: too many received messages are waiting to be handled")

// RefusedError is a CONNACK whose return code is not 0.
type RefusedError struct {
	// Code is the return code as sent: 1 to 5 are defined by MQTT 3.1.1 §3.2.2.3, any other is a
	// refusal as well.
	Code byte
	// Elapsed is the time from the CONNECT written to the CONNACK read.
	Elapsed time.Duration
}

// Error returns one line with the return code and its meaning.
func (e *RefusedError) Error() string {
	return fmt.Sprintf(
		"mqtt: connection refused, return code %d (%s), after %v", e.Code, refusal(e.Code),
		e.Elapsed.Round(time.Millisecond),
	)
}

func refusal(code byte) string {
	switch code {
	case 1:
		return "unacceptable protocol version"
	case 2:
		return "identifier rejected"
	case 3:
		return "server unavailable"
	case 4:
		return "bad user name or password"
	case 5:
		return "not authorized"
	}
	return "undefined"
}

// UpgradeError is an HTTP response other than 101 to a WebSocket upgrade.
type UpgradeError struct {
	// Status is the HTTP status.
	Status int
	// Header is the response's header.
	Header http.Header
	// Body is the start of the response's body, at most 1 KiB.
	Body []byte
	// Proxy is true when a proxy refused the tunnel: the server was never reached.
	Proxy bool
}

// Error returns one line with the status.
func (e *UpgradeError) Error() string {
	if e.Proxy {
		return fmt.Sprintf("mqtt: the proxy refused the tunnel with status %d", e.Status)
	}
	return fmt.Sprintf("mqtt: the WebSocket upgrade was refused with status %d", e.Status)
}

// LostError is what an operation returns when the connection ended before the operation did.
// Whether the server has seen it is unknown.
type LostError struct {
	// Err is the cause of the connection's end.
	Err error
}

// Error returns one line with the cause.
func (e *LostError) Error() string { return "mqtt: connection ended: " + e.Err.Error() }

// Unwrap returns the cause of the connection's end.
func (e *LostError) Unwrap() error { return e.Err }

// TimeoutError is a wait that this package bounds, and that was in vain. It is a net.Error.
type TimeoutError struct {
	// For is what was waited for.
	For string
	// After is how long.
	After time.Duration
}

// Error returns one line with what did not come and the limit.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("mqtt: no %s within %v", e.For, e.After)
}

// Timeout is true.
func (e *TimeoutError) Timeout() bool { return true }

// Temporary is true.
func (e *TimeoutError) Temporary() bool { return true }

// SubscribeError is a SUBACK that refused the subscription.
type SubscribeError struct {
	// Filter is the topic filter of the SUBSCRIBE.
	Filter string
	// Code is the SUBACK's return code, 0x80 or more.
	Code byte
}

// Error returns one line with the filter and the code.
func (e *SubscribeError) Error() string {
	return fmt.Sprintf("mqtt: subscription to %q refused with code 0x%02x", e.Filter, e.Code)
}

// ProtocolError is a packet that the peer had no right to send, or one that is malformed or too
// long.
type ProtocolError struct {
	// Reason says what was wrong with it.
	Reason string
}

// Error returns one line with the reason.
func (e *ProtocolError) Error() string { return "mqtt: protocol violation: " + e.Reason }
