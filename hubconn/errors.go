// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/retry"
)

// maxErrorText is the longest text of an Error, in characters: room for every field, and for what
// an error underneath quotes.
const maxErrorText = 4096

// ErrClosed is the cause of a connection's end when [Conn.Close] ended it.
var ErrClosed = errors.New("hubconn: connection closed")

// Error is what went wrong between a device and its hub. It holds no key and no token.
type Error struct {
	_ [0]func() // only its pointer is compared, which saves code in a device's program

	// Op is what failed: "dial" (network, TLS, WebSocket upgrade), "connect" (CONNECT to CONNACK),
	// "connection" (an established one ended), "renew" (reconnecting with a new token),
	// "credential" (reconnecting with another credential); "send", "messages", "methods", "twin",
	// "report", "desired", "upload", "certificate" (IssueCertificate); "post", "receive",
	// "complete", "abandon", "reject" over HTTPS.
	Op string
	// Hub is the hub and the identity at it.
	Hub Hub
	// Class is what the failure means for the device's relation to its hub.
	Class Class
	// ReturnCode is the CONNACK's return code (MQTT 3.1.1 §3.2.2.3); 0 when there was none.
	ReturnCode byte
	// Status is the HTTP status of a refused WebSocket upgrade or an operation, or the status of a
	// twin operation; 0 when there was none.
	Status int
	// Code is the hub's six-digit code, the HTTP status times 1000 when the hub gave none; 0
	// without a Status (Azure docs: "Understand and resolve Azure IoT Hub errors").
	Code int
	// Name is the hub's name for Code ("DeviceNotFound"); empty when it gave none.
	Name string
	// Message is the hub's own explanation, shortened to one line.
	Message string
	// TrackingID is the hub's name for the exchange, which Azure support needs; empty when the hub
	// gave none.
	TrackingID string
	// Date is the response's Date, the zero time when it had none. It was read over verified TLS.
	Date time.Time
	// Wait is the response's Retry-After; 0 when it had none. That of a request for a certificate
	// is then what Microsoft's SDKs advise.
	Wait time.Duration
	// Pending is the request for a certificate that the hub works on already, with a 409 to another
	// one; nil else.
	Pending *PendingRequest
	// Elapsed is the time from CONNECT to CONNACK, when there was a CONNACK.
	Elapsed time.Duration
	// Err is the error underneath: of the network, of TLS, or the cause of the connection's end.
	Err error

	after string // what became of the connection
}

// Error returns one line, starting with "hubconn: " and the operation.
func (e *Error) Error() string {
	return oneline.Of(
		fmt.Sprintf("hubconn: %s %s: %s%s%s", e.Op, e.Hub, e.Class, e.detail(), e.after),
		maxErrorText,
	)
}

func (e *Error) detail() string {
	var b strings.Builder
	switch {
	case e.ReturnCode != 0:
		if e.Class == Incompatible {
			b.WriteString(": this hub does not speak MQTT 3.1.1")
		}
		fmt.Fprintf(
			&b, ": refused with return code %d after %v", e.ReturnCode,
			e.Elapsed.Round(time.Millisecond),
		)
	case e.Status != 0:
		what := "answered with"
		if e.Op == "dial" || e.Op == "renew" || e.Op == "credential" {
			what = "WebSocket upgrade refused with"
		}
		fmt.Fprintf(&b, ": %s status %d", what, e.Status)
		if e.Name != "" || e.Code%1000 != 0 {
			fmt.Fprintf(&b, ", code %d %s", e.Code, e.Name)
		}
		if e.Message != "" {
			fmt.Fprintf(&b, ", %q", e.Message)
		}
		if e.Status/100 == 2 && e.Err != nil && what == "answered with" {
			b.WriteString(": " + e.Err.Error()) // why a success is none
		}
	case e.Err != nil:
		if inner, ok := errors.AsType[*Error](e.Err); ok {
			return inner.detail()
		}
		// as errors.Join makes them
		b.WriteString(": " + strings.ReplaceAll(e.Err.Error(), "\n", "; "))
	}
	if e.Pending != nil && e.Pending.ID != "" {
		b.WriteString(", while it works on request " + e.Pending.ID)
	}
	if e.TrackingID != "" {
		b.WriteString(", tracking ID " + e.TrackingID)
	}
	return b.String()
}

// Unwrap returns the error underneath.
func (e *Error) Unwrap() error { return e.Err }

// Verdict says what the error calls for: Rejected a registration, Incompatible too, but a slow one
// (the same hub will say the same), Caller nothing automatic, everything else another try.
func (e *Error) Verdict() retry.Verdict {
	switch e.Class {
	case Rejected, Incompatible:
		return retry.Register
	case Caller:
		return retry.Stop
	}
	return retry.Wait
}

// RetryAfter is how long to send the hub nothing: its Retry-After, but no less than 5 s after a
// server error; 10 s when it throttles without a Retry-After, 60 s after a certificate that does
// not verify; otherwise 0.
func (e *Error) RetryAfter() time.Duration {
	switch {
	case e.Class == Server && e.Wait > 0:
		return max(e.Wait, retry.DefaultMinDelay)
	case e.Wait > 0:
		return e.Wait
	case e.Class == Throttled:
		return 10 * time.Second
	case e.Class == Untrusted:
		return time.Minute
	}
	return 0
}
