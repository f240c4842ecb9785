// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"errors"
	"fmt"

	"github.com/rehome-iot/rehome/internal/amqp"
)

// Error is why a session ended, when it was not the network or the handler that ended it.
type Error struct {
	Op  string // what was being done: "read", "connect", "publish", "subscribe", "keep-alive"
	Err error  // why it failed
}

// Error returns one line.
func (e *Error) Error() string { return "mqtt " + e.Op + ": " + e.Err.Error() }

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

var (
	// ErrReset, returned by a Handler or given to Session.Close, ends the connection by a reset
	// instead of an orderly close.
	ErrReset = errors.New("connection reset on purpose")
	// ErrRefused is how a session ends whose CONNECT got a return code other than 0.
	ErrRefused = errors.New("connection refused")
	// ErrTooLarge is in the error of a session whose client announced a packet above
	// Options.MaxPacket.
	ErrTooLarge = errors.New("packet too large")
	// ErrMalformed is in the error of a session whose client broke the protocol.
	ErrMalformed = errors.New("protocol violation")
	// ErrAMQP is why a WebSocket upgrade for AMQP gets status 501, with this text.
	ErrAMQP = errors.New(amqp.Reason)
	// ErrKeepAlive is in the error of a session whose client was silent for longer than its
	// keep-alive allows.
	ErrKeepAlive = errors.New("client silent for too long")

	// a DISCONNECT packet: reported to the handler as nil
	errDisconnected = errors.New("client disconnected")
)

func malformed(op, format string, args ...any) error {
	return &Error{Op: op, Err: fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))}
}
