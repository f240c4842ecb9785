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
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// core is what the methods of a Device share. One goroutine at a time holds the lease and drives it;
// the others see what it publishes.
type core struct {
	device *Device
	client *dps.Client
	dialer *hubconn.Dialer
	clock  *wallClock
	store  entryStore
	random rules.Random
	log    *slog.Logger
	trace  Trace

	lease *lease
	calls chan *call // to whoever drives

	// Of the goroutine that drives.
	state     rules.State
	booted    bool
	driving   bool
	hubless   bool          // DPS alone is asked
	conn      *hubconn.Conn // the live connection; also one that Connect returned
	last      lastFailure
	counts    Status // only its counters
	usesToken bool   // the device authenticates with tokens

	mu        sync.Mutex
	published chan struct{} // closed at the next publication
	status    Status
	target    *known
	live      *hubconn.Conn
}

// lastFailure is what explains the state to a person.
type lastFailure struct {
	err   error
	class retry.Class
	dps   error // of a request to DPS
}

// known is an assignment and where it came from. It is never changed after it was made.
type known struct {
	dps.Assignment
	source Source
}

// named is the assignment as the rules know it.
func (k *known) named() rules.Assignment {
	if k == nil {
		return rules.Assignment{}
	}
	return rules.Assignment{Hub: k.Hub, DeviceID: k.DeviceID, Record: k}
}

// knownFrom is what was named.
func knownFrom(a rules.Assignment) *known {
	k, _ := a.Record.(*known)
	return k
}

// call is a method's wish that whoever drives the device serves.
type call struct {
	event  rules.Event
	result chan callResult // room for one
}

type callResult struct {
	assignment dps.Assignment
	err        error
}

func newCall(e rules.Event) *call { return &call{event: e, result: make(chan callResult, 1)} }

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
		device: d, client: client, dialer: d.dialer(clock), clock: clock,
		lease: newLease(), calls: make(chan *call), published: make(chan struct{}),
		random: newRandom(d.Attestation.RegistrationID()), log: d.Logger,
		status: Status{State: StateStopped},
		store: entryStore{owner: &entryOwner{
			store: d.Store, attestation: d.Attestation, scope: d.IDScope,
			endpoint: cmp.Or(d.Endpoint, dps.DefaultEndpoint), now: clock.Now,
		}},
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if d.Trace != nil {
		c.trace = *d.Trace
	}
	return c, nil
}

// newRandom mixes the system's entropy with the registration ID: boards that boot from one image with
// an empty entropy pool must not draw the same delays.
func newRandom(registrationID string) rules.Random {
	var seed [sha256.Size]byte
	_, _ = rand.Read(seed[:])
	mixed := sha256.Sum256(append(seed[:], registrationID...))
	return mathrand.New(mathrand.NewChaCha8(mixed))
}

// nextPublication returns a channel that is closed when the state has been published anew.
func (c *core) nextPublication() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.published
}

func (c *core) publishedTarget() *known {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.target
}

// serve hands a call to whoever drives the device, or drives it for the purpose.
func (c *core) serve(ctx context.Context, a *call) (dps.Assignment, error) {
	for {
		if err := context.Cause(ctx); err != nil {
			return dps.Assignment{}, err
		}
		wait := c.lease.tryAcquire(holderHelper)
		if wait == nil {
			r := c.serveAlone(ctx, a)
			if errors.Is(r.err, errUnserved) && ctx.Err() == nil {
				continue
			}
			return r.assignment, r.err
		}
		select {
		case c.calls <- a:
		case <-wait:
			continue
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
		select {
		case r := <-a.result:
			if errors.Is(r.err, errUnserved) {
				continue
			}
			return r.assignment, r.err
		case <-ctx.Done():
			return dps.Assignment{}, context.Cause(ctx)
		}
	}
}

// serveAlone drives the device for one call. The caller holds the lease, which is released.
func (c *core) serveAlone(ctx context.Context, a *call) callResult {
	err := c.drive(ctx, task{purpose: toServe, served: a})
	c.lease.release()
	if err == nil {
		err = errUnserved
	}
	select {
	case r := <-a.result:
		if errors.Is(r.err, errUnserved) && ctx.Err() != nil {
			return callResult{err: err}
		}
		return r
	default:
		return callResult{err: err}
	}
}

// errUnserved tells a caller that the loop it had called ended first, and to call the next one.
var errUnserved = errors.New("provisioning: the device stopped before dps had answered")

// errStopped tells a caller, who may be the session, that Run is ending.
var errStopped = errors.New("provisioning: run is ending: the device was not asked")
