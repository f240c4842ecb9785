// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"errors"
	"time"

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

// overloadAfter is how long a CONNACK 5 has to take to mean overload: the hub queues the
// connections it has no room for, and refuses them with this code in the end. A wrong credential is
// refused within seconds.
const overloadAfter = 45 * time.Second

// ClassOfReturnCode is what a CONNACK means that refuses a connection, by its return code (MQTT
// 3.1.1 §3.2.2.3) and the time from CONNECT to CONNACK: 3 is Server, and so is a 5 after 45 s or
// more, since a hub in overload queues connections and refuses them with 5 in the end. 1 is
// Incompatible. All others are Rejected: IoT Hub refuses with 5 for many reasons, so a code that
// MQTT 3.1.1 does not define is no better; but 0x84 is to a hub of MQTT 5 what 1 is to one of 3.1.1
// (MQTT 5 §3.2.2.2). For 0, which accepts, it is Unreachable, as for an error that is nil.
//
// A client of the program's own makes an error of it as
// &hubconn.Error{Op: "connect", Hub: hub, Class: class, ReturnCode: code, Elapsed: elapsed}.
func ClassOfReturnCode(code byte, elapsed time.Duration) Class {
	switch {
	case code == 0:
		return Unreachable
	case code == 3, code == 5 && elapsed >= overloadAfter:
		return Server
	case code == 1, code == 0x84:
		return Incompatible
	}
	return Rejected
}

// ClassOf returns the class of the first *Error in err's tree. An error that is none, as that of
// another MQTT client, is judged by what crypto/tls says in it: Untrusted if the server's
// certificate does not verify, Rejected if the server has refused the device's. Any other is
// Unreachable, the class that costs the least if it is wrong; so is nil.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return classOfTLS(err)
}
