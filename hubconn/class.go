package hubconn

import (
	"errors"
	"fmt"
)

// Class is what a failure means for the device's relation to its hub.
type Class int

const (
	// Unreachable is no answer from the hub: name not resolved, refused, reset, timed out, lost, or a proxy that spoke
	// in its place.
	Unreachable Class = iota
	// Throttled is a hub that asks for less: 429, or a used up quota.
	Throttled
	// Server is a hub in trouble: 5xx, CONNACK 3, overload.
	Server
	// Untrusted is a server whose certificate does not verify. It was told nothing.
	Untrusted
	// Rejected is a hub that does not take this device, or not with this credential.
	Rejected
	// Caller is an operation that was wrong in itself. The connection and the identity are untouched.
	Caller
)

// String returns the class's name in lower case.
func (c Class) String() string {
	switch c {
	case Unreachable:
		return "unreachable"
	case Throttled:
		return "throttled"
	case Server:
		return "server"
	case Untrusted:
		return "untrusted"
	case Rejected:
		return "rejected"
	case Caller:
		return "caller"
	}
	return fmt.Sprintf("class(%d)", int(c))
}

// ClassOf returns the class of the first *Error in err's tree. Any other error is Unreachable, the class that costs the
// least if it is wrong; so is nil.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Unreachable
}
