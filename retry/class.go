// SPDX-License-Identifier: Apache-2.0

package retry

import "fmt"

// A Class says what a failure means for a device's relation to its hub. It is
// finer than a [Verdict]: several classes call for the same verdict, but for other
// delays. The zero value is Unreachable, the class that costs least if it is wrong.
//
// The class stands here, below everything that uses the network, so that the rules
// can name it without importing a connection. hubconn.ClassOf returns an error's class.
type Class int

const (
	// Unreachable means that the hub sent no response: its name did not resolve, the
	// connection was refused, reset, timed out or lost, or a proxy spoke in the hub's
	// place.
	Unreachable Class = iota
	// Throttled means that the hub asks for fewer requests: status 429, or a quota
	// that is used up. The device and its credential are in order.
	Throttled
	// Server means that the hub itself is in trouble: status 5xx, CONNACK return
	// code 3 (MQTT 3.1.1 §3.2.2.3), or overload.
	Server
	// Untrusted means that the server's certificate does not verify. No credential
	// was sent to it.
	Untrusted
	// Rejected means that the hub does not accept this device, or not with this
	// credential.
	Rejected
	// Caller means that an operation was wrong in itself. The connection and the
	// identity are untouched; repeating the operation unchanged fails again.
	Caller
	// Incompatible means that the hub does not speak this protocol: CONNACK return
	// code 1. Neither another try nor another credential can change that, but DPS may
	// name another hub once the operator has moved the device: it calls for a
	// registration now and then, without hurry.
	Incompatible
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
	case Incompatible:
		return "incompatible"
	}
	return fmt.Sprintf("class(%d)", int(c))
}
