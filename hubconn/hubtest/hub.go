// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"crypto/x509"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/boundedlog"
)

// Hub is a simulated IoT hub. It is safe for concurrent use.
type Hub struct {
	network *simnet.Network
	host    string

	mu         sync.Mutex
	devices    map[string]*record
	links      map[string]*link // by client ID
	faults     []*injected
	attempts   *boundedlog.Log[Attempt]
	messages   *boundedlog.Log[Message]
	operations *boundedlog.Log[Operation]
	settled    *boundedlog.Log[Settled]
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

	issuer     *Issuer
	manualSync bool
	trusted    []*x509.Certificate // with manualSync
	policies   policies
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
		attempts: boundedlog.New(attemptSize), messages: boundedlog.New(messageSize),
		operations: boundedlog.New(operationSize), settled: boundedlog.New(settledSize),
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
	if l != nil {
		h.recordDisconnected(l, errDisconnected)
	}
	h.mu.Unlock()
	if l == nil {
		return false
	}
	l.session.Close(errDisconnected)
	return true
}

// announce wakes those who wait for a device; h.mu is held.
func (h *Hub) announce() {
	close(h.changed)
	h.changed = make(chan struct{})
}
