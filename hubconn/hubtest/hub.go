package hubtest

import (
	"slices"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Hub is a simulated IoT hub. It is safe for concurrent use.
type Hub struct {
	network *simnet.Network
	host    string

	mu         sync.Mutex
	devices    map[string]*record
	links      map[string]*link // by client ID
	faults     []*injected
	attempts   []*Attempt
	messages   []Message
	operations []Operation
	logged     logged
	settled    []Settled
	uploads    []*Upload
	uploadTTL  time.Duration
	store      *store
	generation int
	grace      time.Duration
	etags      uint64
	changed    chan struct{} // closed and replaced when a device connects or subscribes
	calls      map[string]*call
	lastCall   int64
	limits     Limits
	due        map[Stage]time.Time // when the next operation of a rate is due
	day        time.Time           // the one that spent is for
	spent      int

	oversizeCode int
	profile      string
	policies     policies
	// of the REST API to the registry: one looks at what is there, and then changes it
	writes sync.Mutex
}

// defaultGrace is how long after its expiry a token still lets a device connect, and a connection
// made with it live: the service allows for clocks that differ by up to five minutes.
const defaultGrace = 5 * time.Minute

// NewHub makes a hub with an empty registry, and gives it, and its storage for uploads, their names
// on the network.
func NewHub(n *simnet.Network, host string) *Hub {
	h := &Hub{
		network: n, host: host, devices: make(map[string]*record), links: make(map[string]*link),
		grace: defaultGrace, changed: make(chan struct{}), calls: make(map[string]*call),
		oversizeCode: codeArgumentInvalid, uploadTTL: defaultUploadTTL,
	}
	h.store = newStore(h)
	n.Handle(host, h)
	return h
}

// Host returns the hub's host name, as NewHub was given it.
func (h *Hub) Host() string { return h.host }

// SetExpiryGrace sets for how long after a token's expiry the hub goes on accepting it, and keeps a
// connection that was made with it. The default is 5 minutes; the service's documentation also
// speaks of 10.
func (h *Hub) SetExpiryGrace(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.grace = d
}

func (h *Hub) expiryGrace() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.grace
}

// Connected reports whether a device, or "device/module", has a live connection.
func (h *Hub) Connected(id string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.links[id] != nil
}

// Disconnect closes the connection of a device, or of "device/module", with no packet, as the hub
// does for its own reasons. It reports whether there was one.
func (h *Hub) Disconnect(id string) bool {
	h.mu.Lock()
	l := h.links[id]
	delete(h.links, id)
	h.mu.Unlock()
	if l == nil {
		return false
	}
	l.session.Close(errDisconnected)
	return true
}

// Attempt is one try of a device to get in: a CONNECT, or a WebSocket upgrade that was refused
// before there was one.
type Attempt struct {
	// Time is when the attempt arrived, by the services' clock ([simnet.Network.Now]).
	Time time.Time
	// DeviceID is the client ID: "device", or "device/module". It is "" for an upgrade.
	DeviceID string
	// Transport is "mqtt" or "ws" (MQTT over WebSocket).
	Transport string
	// Answered says that a CONNACK or an HTTP response was sent. It is false while there is none.
	Answered bool
	// ReturnCode is that of the CONNACK: 0 accepts.
	ReturnCode byte
	// Status is the HTTP status of a refused upgrade; 0 for a CONNECT.
	Status int
	// Reason is why the attempt was refused, for people: the device is not told. "" if it was not.
	Reason string
	// ModelID is the IoT Plug and Play model that the device announced, "" for none.
	ModelID string
	// ClientType is the DeviceClientType of the user name: what the device says it is.
	ClientType string
}

// Accepted reports whether the device got in.
func (a Attempt) Accepted() bool { return a.Answered && a.ReturnCode == 0 && a.Status == 0 }

// maxLog bounds each of a hub's logs, for simulators that run for months.
const maxLog = 100_000

// Attempts returns the log of tries, in the order of their arrival. The log holds the newest 90,000
// at least.
func (h *Hub) Attempts() []Attempt {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Attempt, len(h.attempts))
	for i, a := range h.attempts {
		out[i] = *a
	}
	return out
}

// Messages returns the telemetry received, in order, duplicates included. The log holds the newest
// 90,000 at least.
func (h *Hub) Messages() []Message {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.messages)
}

// ResetLog empties the logs: of attempts, messages, operations, settled cloud-to-device messages
// and uploads that have ended.
func (h *Hub) ResetLog() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts, h.messages, h.operations, h.settled = nil, nil, nil, nil
	h.logged = logged{}
	h.uploads = slices.DeleteFunc(h.uploads, func(u *Upload) bool { return !u.Ended.IsZero() })
}

// announce wakes those who wait for a device; h.mu is held.
func (h *Hub) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// logAttempt logs a try that has no response yet.
func (h *Hub) logAttempt(a Attempt) *Attempt {
	a.Time = h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logged.attempts++
	h.attempts = append(trim(h.attempts), &a)
	return &a
}

// concludeAttempt logs how a try was answered.
func (h *Hub) concludeAttempt(a *Attempt, returnCode byte, status int, reason string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a.Answered, a.ReturnCode, a.Status, a.Reason = true, returnCode, status, reason
}

// removeAttempt takes a try out of the log again: it goes on, and is logged by its CONNECT.
func (h *Hub) removeAttempt(a *Attempt) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts = slices.DeleteFunc(h.attempts, func(b *Attempt) bool { return a == b })
}

// trim makes room in a full log.
func trim[T any](log []T) []T {
	if len(log) < maxLog {
		return log
	}
	return slices.Delete(log, 0, maxLog/10)
}

// Operation is one thing that a device had the hub do, other than to connect and to send telemetry
// over MQTT: those are in the logs of [Hub.Attempts] and [Hub.Messages].
type Operation struct {
	// Time is when the hub responded, by the services' clock ([simnet.Network.Now]).
	Time time.Time
	// On is the kind of operation: TwinGet, TwinPatch, or one of the stages from Send on.
	On Stage
	// DeviceID is the device, or "device/module".
	DeviceID string
	// Transport is "mqtt", "ws" (MQTT over WebSocket) or "https".
	Transport string
	// Status is the status of the response: of HTTPS, or of a twin operation. 0 means that none was
	// sent.
	Status int
	// Code is the hub's six-digit error code, 0 for none.
	Code int
	// Detail is the name of the blob; "" for all other operations.
	Detail string
}

// Operations returns the log of operations, in the order of their responses. It holds the newest
// 90,000 at least.
func (h *Hub) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.operations)
}

func (h *Hub) logOperation(o Operation) {
	o.Time = h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.logged.operations++
	h.operations = append(trim(h.operations), o)
}
