package hubconn

import (
	"errors"

	"github.com/rehome-iot/rehome/retry"
)

// Class is [retry.Class]: what a failure means for the device's relation to its hub.
type Class = retry.Class

// The classes, under the names that a program which connects uses.
const (
	// Unreachable is [retry.Unreachable]: the hub sent no response, or a proxy spoke in its place.
	Unreachable = retry.Unreachable
	// Throttled is [retry.Throttled]: the hub asks for fewer requests, or a quota is used up.
	Throttled = retry.Throttled
	// Server is [retry.Server]: the hub is in trouble (5xx, CONNACK return code 3, overload).
	Server = retry.Server
	// Untrusted is [retry.Untrusted]: the server's certificate does not verify. No credential was
	// sent to it.
	Untrusted = retry.Untrusted
	// Rejected is [retry.Rejected]: the hub does not accept this device, or not with this
	// credential.
	Rejected = retry.Rejected
	// Caller is [retry.Caller]: an operation was wrong in itself. The connection and the identity
	// are untouched.
	Caller = retry.Caller
	// Incompatible is [retry.Incompatible]: the hub does not speak MQTT 3.1.1 (CONNACK return code
	// 1).
	Incompatible = retry.Incompatible
)

// ClassOf returns the class of the first *Error in err's tree. Any other error is Unreachable, the
// class that costs the least if it is wrong; so is nil.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Unreachable
}
