package provisioning

import (
	"log/slog"
	"sync"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/internal/waits"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// core is what the methods of a Device share, or those of a Module. One goroutine at a time holds
// the lease and drives it; the others see what it publishes.
type core struct {
	identity    *identity      // behind a pointer, where %v does not look
	device      *core          // of a module: its device's
	payload     any            // of a registration
	settings    rules.Settings // but for what the credential adds
	maxAttempts int            // in a row; 0: for ever
	client      *dps.Client
	dialer      *hubconn.Dialer
	dpsHost     string
	clock       *wallClock
	store       entryStore // holds the attestation behind a pointer, where %v does not look
	waits       waits.Keeper
	limiter     Limiter
	random      rules.Random
	log         *slog.Logger
	trace       Trace

	lease  *lease
	calls  chan *call    // to whoever drives
	nudges chan struct{} // room for one

	// Of the goroutine that drives.
	state     rules.State
	toHub     choice[hubconn.Transport]
	toDPS     choice[dps.Transport]
	booted    bool
	driving   bool
	hubless   bool          // DPS alone is asked
	conn      *hubconn.Conn // the live connection; also one that Connect returned
	last      lastFailure
	counts    Status // only its counters
	usesToken bool   // the device authenticates with tokens
	// why the program asked for the registration that is planned or under way
	manualReason string

	mu        sync.Mutex
	published chan struct{} // closed at the next publication
	status    Status
	target    *known
	live      *hubconn.Conn
	ending    bool // Run is, and its session has not returned yet
	home      home // for modules
	modules   map[*core]struct{}

	question chan struct{} // room for one: modules ask one after the other
}

// identity is whom the hub knows: the device, or a module of it.
type identity struct {
	credential hubconn.Credential
	moduleID   string // empty: the device
}

// at is the identity at a hub.
func (i *identity) at(hub hubconn.Hub) hubconn.Hub {
	hub.ModuleID = i.moduleID
	return hub
}

// String is what the identity is called in the log.
func (i *identity) String() string {
	if i.moduleID != "" {
		return "module"
	}
	return "device"
}

// lastFailure is what explains the state to a person.
type lastFailure struct {
	err   error
	class retry.Class
	dps   error // of a request to DPS
}

// nextPublication returns a channel that is closed when the state has been published anew.
func (c *core) nextPublication() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.published
}

// publishedTarget is where the device belongs, nil if nobody knows; whether it is connected all the
// same; and whether it is no use to wait for more, because the one who waits may be waited for.
func (c *core) publishedTarget() (k *known, connected, ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.target, c.live != nil && c.live.Context().Err() == nil, c.ending
}

// setEnding is called before the publication that lets others see it.
func (c *core) setEnding(ending bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = ending
}
