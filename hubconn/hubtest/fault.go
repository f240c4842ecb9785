package hubtest

import (
	"context"
	"strconv"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// Stage is the moment of a connection at which a Fault strikes.
type Stage int

const (
	// Upgrade is a WebSocket upgrade request. The device is not known yet: a Fault with a DeviceID does not strike here.
	Upgrade Stage = iota + 1
	// Connect is a CONNECT, before it is judged.
	Connect
	// Connected is the moment after a CONNACK with return code 0.
	Connected
	// Publish is a PUBLISH from the device.
	Publish
	// Subscribe is a SUBSCRIBE from the device.
	Subscribe

	// TwinGet and TwinPatch are a device's requests for its twin, and its reports: Status, Code and Message answer them; NoAnswer loses the
	// answer, and Stored says that the report was taken nevertheless.
	TwinGet
	TwinPatch
	// Desired, Method and Command are messages to the device: a change of desired properties, a method's request, and a cloud-to-device message. NoAnswer
	// loses them on the way.
	Desired
	Method
	Command

	// Send is telemetry over HTTPS, Receive a request for a cloud-to-device message, Settle its completion, abandonment or rejection.
	Send
	Receive
	Settle
	// UploadStart and UploadNotify are a device's request for a place to upload to, and its report of how that went; BlobPut is a
	// request to that place, which answers in the manner of blob storage.
	UploadStart
	UploadNotify
	BlobPut
)

// String returns the stage's name.
func (s Stage) String() string {
	names := []string{"", "upgrade", "connect", "connected", "publish", "subscribe", "twin get", "twin patch", "desired", "method", "command",
		"send", "receive", "settle", "upload start", "upload notify", "blob put"}
	if s <= 0 || int(s) >= len(names) {
		return "unknown stage"
	}
	return names[s]
}

// Fault is something that goes wrong on demand. The first of the injected faults that fits an event strikes.
type Fault struct {
	// On is the stage it strikes at.
	On Stage
	// DeviceID limits the fault to one device; "" means any.
	DeviceID string
	// Skip lets so many fitting events pass first.
	Skip int
	// Times is how often it strikes: 0 means once, -1 until ClearFaults.
	Times int

	// Delay comes before whatever else happens; a Fault with a Delay alone is just slow. The network's traffic
	// shaping, for instance, is a Delay at Connect.
	Delay time.Duration
	// NoAnswer gives no CONNACK, PUBACK, SUBACK or HTTP answer; the connection stays. A message is not taken then, unless Stored.
	NoAnswer bool
	// Cut resets the connection instead of answering. A message is not taken then, unless Stored.
	Cut bool
	// Close closes the connection instead of answering, the way the hub does when it throttles, is out of quota, or meets a message it does not allow.
	Close bool
	// Stall leaves the connection open but lets no byte through any more, in either direction.
	Stall bool
	// Stored takes the message although the device does not learn of it: its second try will be a duplicate.
	Stored bool

	// ReturnCode is sent in the CONNACK, and the connection closed. At Connect.
	ReturnCode byte
	// SubackFailure refuses every filter with 0x80. At Subscribe.
	SubackFailure bool

	// Status is the HTTP status of a refused upgrade or HTTPS operation, or the status of a twin operation's answer.
	Status int
	// RetryAfter is that answer's Retry-After header, as it is; "" means none.
	RetryAfter string
	// ErrorCode is its iothub-errorcode header, for instance "ThrottlingException". Without one the answer is a proxy's or load balancer's: HTML, and
	// no header of the hub's.
	ErrorCode string
	// Code is the hub's six-digit code, for instance 429001. With it the body has the newer of the hub's two shapes, with an errorCode in it.
	Code int
	// Message is the text in the body; "" means one that fits the status.
	Message string
}

// silent reports whether the fault leaves a request without an answer.
func (f *Fault) silent() bool { return f.NoAnswer || f.Cut || f.Close || f.Stall }

// keeps reports whether the hub does what it was asked, although the device is told otherwise, or nothing.
func (f *Fault) keeps() bool { return f.Stored && (f.silent() || f.Status != 0) }

// linger waits for so long. An error says that the connection ended first.
func linger(ctx context.Context, d time.Duration) error {
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

// ClearFaults removes all faults. What has struck already goes on: a device left without an answer gets none.
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

// FailOver moves the hub to another region, as its operator or the service does: every connection is
// reset, new ones are refused for so long, and then it serves again, with its registry, twins and
// queues as they were. A Fault at Connect with return code 5, or one with status 404 and code 404012
// over HTTPS, is the other way in which hubs that fail over have been seen. The storage for uploads
// stays.
func (h *Hub) FailOver(d time.Duration) {
	h.network.RefuseFor(h.host, d)
	h.network.Cut(h.host)
}

// injection ends the connection when a device asks for it by a telemetry message, as the end-to-end tests of the official SDKs do: with a
// property AzIoTHub_FaultOperationType. The message is not taken, nor acknowledged. (Azure IoT SDK for C#: FaultInjectionConstants)
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
	if err := linger(ctx, time.Duration(seconds)*time.Second); err != nil {
		return err
	}
	return end
}
