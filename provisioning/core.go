package provisioning

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// core is what the methods of a Device share. One goroutine at a time holds it (take) and drives it; the others see what it publishes.
type core struct {
	device   *Device
	client   *dps.Client
	dialer   *hubconn.Dialer
	clock    *wallClock
	settings *notebook // as set, never read from; a copy of it reads and writes
	notebook *notebook
	rnd      random
	log      *slog.Logger
	trace    Trace

	asks    chan *asking  // to whoever drives
	giveWay chan struct{} // to a call that drives for want of a Run: Run wants to

	// Of the goroutine that drives.
	state   state
	booted  bool
	driving bool
	dpsOnly bool
	conn    *hubconn.Conn // the live connection; also one that Connect returned
	last    lastSeen
	counts  Status // only its counters
	tokens  bool   // the device authenticates with tokens

	mu     sync.Mutex
	held   chan struct{} // not nil while somebody drives; closed when they are done
	holder holder        // who
	wanted int           // how many of Run, Connect, Send and Receive wait for it
	notify chan struct{} // closed at the next publication
	status Status
	target *known
	live   *hubconn.Conn
}

// holder is the kind of a call that drives the device.
type holder uint8

const (
	holderHelper holder = iota // drives only for want of another: gives way
	holderMain                 // Run or Connect
	holderBrief                // Send or Receive: several of them queue up
)

// lastSeen is what explains the state to a person.
type lastSeen struct {
	err   error
	class hubconn.Class
	dps   error // the last failure of a request to DPS
}

// asking is a call that whoever drives the device answers.
type asking struct {
	kind   eventKind
	answer chan answer
}

type answer struct {
	assignment dps.Assignment
	err        error
}

func newCore(d *Device) (*core, error) {
	var system func() time.Time
	if d.TLSConfig != nil {
		system = d.TLSConfig.Time
	}
	clock := newWallClock(system)
	client := d.client(clock)
	if err := d.validate(client); err != nil {
		return nil, err
	}
	c := &core{
		device: d, client: client, dialer: d.dialer(clock), clock: clock, asks: make(chan *asking), giveWay: make(chan struct{}), notify: make(chan struct{}),
		rnd: newRandom(d.Attestation.RegistrationID()), log: d.Logger, status: Status{State: StateStopped},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if d.Trace != nil {
		c.trace = *d.Trace
	}
	c.settings = &notebook{store: d.Store, attestation: d.Attestation, scope: d.IDScope, endpoint: cmp.Or(d.Endpoint, dps.DefaultEndpoint), now: clock.Now}
	notebook := *c.settings
	c.notebook = &notebook
	return c, nil
}

// newRandom mixes the system's entropy with the registration ID: boards that boot from one image with an empty entropy pool must not draw
// the same delays.
func newRandom(registrationID string) random {
	var seed [sha256.Size]byte
	_, _ = rand.Read(seed[:])
	return mathrand.New(mathrand.NewChaCha8(sha256.Sum256(append(seed[:], registrationID...))))
}

// take makes the caller the one who drives the device. If somebody else is, or Run is about to, it returns what to wait for before the
// next try.
func (c *core) take(as holder) (wait <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.held != nil:
		return c.held
	case as == holderHelper && c.wanted > 0:
		return c.notify
	}
	c.held, c.holder = make(chan struct{}), as
	return nil
}

// takeOver is take for Run, Connect, Send and Receive: calls that drive the device only for want of these give way.
func (c *core) takeOver(ctx context.Context, as holder) error {
	c.want(1)
	defer c.want(-1)
	for {
		wait := c.take(as)
		if wait == nil {
			return nil
		}
		switch held, by := c.heldBy(); {
		case !held || by == holderHelper:
		case by == holderMain || as == holderMain:
			return ErrRunning
		}
		select {
		case c.giveWay <- struct{}{}:
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (c *core) want(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wanted += n
	if c.wanted == 0 && c.held == nil {
		c.announce() // who waited for the one that has given up
	}
}

// announce wakes who waits for a change. The caller holds mu.
func (c *core) announce() {
	close(c.notify)
	c.notify = make(chan struct{})
}

func (c *core) heldBy() (held bool, by holder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.held != nil, c.holder
}

func (c *core) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.held)
	c.held = nil
	c.announce()
}

func (c *core) changed() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notify
}

func (c *core) peek() *known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.target
}

// ask hands a call to whoever drives the device, or drives it for the purpose.
func (c *core) ask(ctx context.Context, a *asking) (dps.Assignment, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return dps.Assignment{}, err
		}
		wait := c.take(holderHelper)
		if wait == nil {
			err := c.supervise(ctx, mode{noHub: true, asked: a})
			c.release()
			select {
			case r := <-a.answer:
				if errors.Is(r.err, errUnserved) && ctx.Err() == nil {
					continue
				}
				if r.err == nil || !errors.Is(r.err, errUnserved) {
					return r.assignment, r.err
				}
			default:
			}
			if err == nil {
				err = errUnserved
			}
			return dps.Assignment{}, err
		}
		select {
		case c.asks <- a:
			select {
			case r := <-a.answer:
				if errors.Is(r.err, errUnserved) {
					continue
				}
				return r.assignment, r.err
			case <-ctx.Done():
				return dps.Assignment{}, context.Cause(ctx)
			}
		case <-wait:
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
	}
}

// errUnserved tells a caller that the loop it had asked ended first, and to ask the next one.
var errUnserved = errors.New("provisioning: the device stopped before dps had answered")

// errStopped tells a caller, who may be the session, that Run is ending.
var errStopped = errors.New("provisioning: run is ending: the device was not asked")
