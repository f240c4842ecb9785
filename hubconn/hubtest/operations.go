package hubtest

import (
	"slices"
	"time"
)

// Operation is one thing a device did at the hub or the hub at the device, other than to connect and to send telemetry
// over MQTT: Attempts and Messages tell of those.
type Operation struct {
	Time      time.Time // by the services' clock
	On        Stage
	DeviceID  string // or "device/module"
	Transport string // "mqtt", "ws" or "https"
	// Status and Code are the hub's answer: of HTTPS and twin operations. Status 0 means none was given.
	Status, Code int
	// Detail is the name of the method or of the blob.
	Detail string
}

// Operations returns the log of operations, in the order of their answers. It holds the newest 90,000 at least.
func (h *Hub) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.operations)
}

func (h *Hub) note(o Operation) {
	o.Time = h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.operations = append(trim(h.operations), o)
}
