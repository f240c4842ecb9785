// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"log/slog"
	"sync"
	"time"

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
	of          *Device        // whose it is; nil of a module
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
	budget      Budget // nil: there is none
	random      rules.Random
	second      dps.Attestation // nil: there is none; see Device
	issuance    Issuance
	certs       *certificates // nil: none are issued
	name        name
	log         *slog.Logger
	unlogged    bool // the program has set no Logger
	trace       Trace

	lease  *lease
	calls  chan *call    // to whoever drives
	nudges chan struct{} // room for one

	// Of the goroutine that drives.
	state   rules.State
	toHub   choice[hubconn.Transport]
	toDPS   choice[dps.Transport]
	booted  bool
	driving bool
	hubless bool // DPS alone is asked
	// what an attempt at the hub is called
	attempting State
	hub        *request      // under way, or waiting for its turn
	dps        *request      // the same
	conn       *hubconn.Conn // the live connection; also one that Connect returned
	last       lastFailure
	outage     outage
	news       map[string]struct{} // that the log has told since the last stable connection
	counts     Status              // only its counters
	usesToken  bool                // the device authenticates with tokens
	// why the program asked for the registration that is planned or under way
	manualReason string

	toHubWith, toDPSWith preference      // which credential goes first
	using                credential      // that the hub has accepted last
	usingWhy             string          // why another was not
	former               dps.Attestation // what a source had before, until the hub accepts the next
	told                 bool            // DPS knows one that came after former
	current              dps.Attestation // what a source has
	fingerprint          string          // of current
	installedAs          rules.Installed // what the rules were told
	toldProblem          string          // with a source, as the log has it
	sourceChanged        <-chan struct{} // closed when a source has another
	overdueAt            time.Time       // before when an earlier process's renewal does not begin
	holdOff              time.Time       // before when no certificate is asked for
	lastRenewal          error           // why there is none, or none newer

	own own // of the program's own client

	mu        sync.Mutex
	published chan struct{} // closed at the next publication
	status    Status
	target    *known
	ownSeen   own
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

// lastFailure is what explains the state to a person.
type lastFailure struct {
	_ [0]func() // never compared, which saves code in a device's program

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
