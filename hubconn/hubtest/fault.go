// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// Fault is something that goes wrong on demand. The first of the injected faults that fits an event
// strikes. In JSON it has the names of its tags, and Delay is text, as "1m30s"; so files of faults
// hold it as it is.
type Fault struct {
	// On is the stage at which it strikes.
	On Stage `json:"on,omitempty"`
	// DeviceID limits the fault to one device, or "device/module". Default: any.
	DeviceID string `json:"deviceId,omitempty"`
	// Skip is how many fitting events pass before it strikes.
	Skip int `json:"skip,omitempty"`
	// Times is how often it strikes: 0 means once, -1 until ClearFaults.
	Times int `json:"times,omitempty"`

	// Delay comes before whatever else happens; a Fault with a Delay alone is just slow. The
	// service's traffic shaping, for instance, is a Delay at Connect.
	Delay time.Duration `json:"delay,omitempty"`
	// NoAnswer gives no CONNACK, PUBACK, SUBACK or HTTP response; the connection stays. A message
	// is not stored then, unless Stored is set.
	NoAnswer bool `json:"noAnswer,omitempty"`
	// Cut resets the connection instead of answering. A message is not stored then, unless Stored
	// is set.
	Cut bool `json:"cut,omitempty"`
	// Close closes the connection instead of answering, the way the hub does when it throttles, is
	// out of quota, or meets a message it does not allow.
	Close bool `json:"close,omitempty"`
	// Stall leaves the connection open but lets no byte through any more, in either direction.
	Stall bool `json:"stall,omitempty"`
	// Stored stores the message although the device does not learn of it: its second try will be a
	// duplicate.
	Stored bool `json:"stored,omitempty"`

	// ReturnCode is sent in the CONNACK, and the connection closed. At Connect.
	ReturnCode byte `json:"returnCode,omitempty"`
	// SubackFailure refuses every filter with 0x80. At Subscribe.
	SubackFailure bool `json:"subackFailure,omitempty"`

	// Status is the HTTP status of a refused upgrade or HTTPS operation, or the status of a twin
	// operation's response.
	Status int `json:"status,omitempty"`
	// RetryAfter is that response's Retry-After header, as it is; "" means none.
	RetryAfter string `json:"retryAfter,omitempty"`
	// ErrorCode is its iothub-errorcode header, for instance "ThrottlingException". Without one the
	// response is a proxy's or load balancer's: HTML, and no header of the hub's.
	ErrorCode string `json:"errorCode,omitempty"`
	// Code is the hub's six-digit code, for instance 429001. With it the body has the newer of the
	// hub's two shapes, with an errorCode in it.
	Code int `json:"code,omitempty"`
	// Message is the text in the body; "" means one that fits the status.
	Message string `json:"message,omitempty"`

	// Chain is what is wrong with the certificate chain that a device is issued. At IssueEnd.
	Chain ChainFault `json:"chain,omitempty"`
}

// plainFault is a Fault without its methods.
type plainFault Fault

// MarshalJSON writes the fault with Delay as text. What is zero is left out.
func (f Fault) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		plainFault
		Delay simnet.Duration `json:"delay,omitempty"`
	}{plainFault(f), simnet.Duration(f.Delay)})
}

// UnmarshalJSON reads what MarshalJSON writes. A member that is absent leaves its field as it is.
func (f *Fault) UnmarshalJSON(data []byte) error {
	in := struct {
		*plainFault
		Delay *simnet.Duration `json:"delay"`
	}{(*plainFault)(f), (*simnet.Duration)(&f.Delay)}
	return json.Unmarshal(data, &in)
}

// silent reports whether the fault leaves a request without a response.
func (f *Fault) silent() bool { return f.NoAnswer || f.Cut || f.Close || f.Stall }

// performs reports whether the hub does what it was asked, although the device is told otherwise,
// or nothing.
func (f *Fault) performs() bool { return f.Stored && (f.silent() || f.Status != 0) }

// pause waits for so long. An error says that the connection ended first.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Inject adds a fault. It strikes from the next event on.
func (h *Hub) Inject(f Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	times := f.Times
	if times == 0 {
		times = 1
	}
	h.faults = append(h.faults, &injected{Fault: f, left: times})
}

// ClearFaults removes all faults. What has struck already goes on: a device left without a response
// gets none.
func (h *Hub) ClearFaults() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = nil
}

// injected is a fault and what is left of it.
type injected struct {
	Fault
	left int // -1: any number
}

// strike returns the fault that an event meets, if any.
func (h *Hub) strike(on Stage, deviceID string) (Fault, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, f := range h.faults {
		if f.On != on || f.left == 0 || f.DeviceID != "" && f.DeviceID != deviceID {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if f.left > 0 {
			f.left--
		}
		return f.Fault, true
	}
	return Fault{}, false
}

// FailOver moves the hub to another region, as its operator or the service does: every connection
// is reset, new ones are refused for so long, and then it serves again, with its registry, twins
// and queues as they were. A Fault at Connect with return code 5, or one with status 404 and code
// 404012 over HTTPS, is the other way in which hubs that fail over have been seen. The storage for
// uploads stays.
func (h *Hub) FailOver(d time.Duration) {
	h.network.RefuseFor(h.host, d)
	h.network.Cut(h.host)
}

// injection ends the connection when a device asks for it by a telemetry message, as the end-to-end
// tests of the official SDKs do: with a property AzIoTHub_FaultOperationType. The message is not
// taken, nor acknowledged. (Azure IoT SDK for C#: FaultInjectionConstants)
func injection(ctx context.Context, properties map[string]string) error {
	var end error
	switch properties["AzIoTHub_FaultOperationType"] {
	case "KillTcp":
		end = mqttserver.ErrReset
	case "ShutDownMqtt":
		end = errFault
	default:
		return nil // the others show on other protocols alone
	}
	seconds, err := strconv.Atoi(properties["AzIoTHub_FaultOperationDelayInSecs"])
	if err != nil || seconds < 0 || seconds > 300 {
		seconds = 0
	}
	if err := pause(ctx, time.Duration(seconds)*time.Second); err != nil {
		return err
	}
	return end
}
