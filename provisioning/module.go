// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/jitter"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/internal/waits"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// Module keeps a module of a device connected: an identity under the device's, with a credential, a
// connection, a twin, methods and messages of its own (Azure docs: "Understand and use module
// identities in IoT Hub"). DPS knows no modules: a module lives at the hub that its device is
// assigned to, and follows it. Whoever creates the module there gives it its key; after a move to
// another hub, it has to be created anew.
//
// The hub's answers call for what they call for of a Device, with waits of the module's own; the
// package documentation has what differs. The fields of the Device hold for its modules, too:
// Store (for waits), Hub and all that a connection takes, Stagger, AfterRejection, Budget, Retry
// and Logger.
//
// Set the fields before the first call and leave them alone afterwards. The methods may be called
// from several goroutines at once. A device may have up to 50 modules; two of one ID would end each
// other's connection, over and over. A Module must not be copied after its first use.
type Module struct {
	// Device is whose module it is. Required. It need not be running: see Run.
	Device *Device

	// ID is the module ID, as it was created at the hub: case-sensitive, up to 128 characters.
	// Required.
	ID string

	// Credential is the module's own. Required. A [dps.SymmetricKey] is one, with the module's key
	// (primary or secondary, as the hub shows it; DPS's derivation knows none for modules), and so
	// is a [dps.X509] with its certificate, whose common name Azure wants to be
	// "{deviceID}/{moduleID}" where an authority has signed it. The registration ID of either is
	// not used. The device's own credential is refused by the hub.
	Credential hubconn.Credential

	// ModelID is the IoT Plug and Play model that the module implements. Empty announces none: the
	// Device's is the device's.
	ModelID string

	// Trace observes the module: its Changed, Attempt and StoreFailed are called, as a Device's,
	// from the goroutine that runs the module. What DPS is asked is told by the Device's. Nil
	// observes nothing.
	Trace *Trace

	mu   sync.Mutex
	core *core
}

// Run keeps the module connected and calls session for every connection, one at a time, with the
// contract of [Device.Run]: when the session's context ends and with which cause, when Run returns
// and with what. The cause is [ErrReprovisioned] when the device has moved to another hub, or got
// another device ID; the next session runs there.
//
// A program runs each module in a goroutine of its own, beside Device.Run, in any order. Without a
// call that drives the device, the module goes where that would connect first: to what is
// remembered, else what DPS says. It makes room for a call that comes, whose end does not end the
// module.
func (m *Module) Run(
	ctx context.Context, session func(ctx context.Context, hub *hubconn.Conn) error,
) error {
	if session == nil {
		return invalid(errors.New("session is nil: pass the function to run on each connection"))
	}
	c, err := m.prepare(ctx)
	if err != nil {
		return err
	}
	if err := c.lease.acquire(ctx, holderMain); err != nil {
		return err
	}
	defer c.lease.release()
	c.device.runs(c, true)
	defer c.device.runs(c, false)
	return c.drive(ctx, task{purpose: toRun, session: session})
}

// Status says what the module is doing and why, as [Device.Status]. Its counters are of the
// connections and the store; what DPS is asked, the Device counts.
func (m *Module) Status() Status {
	m.mu.Lock()
	c := m.core
	m.mu.Unlock()
	if c == nil {
		return Status{State: StateStopped}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

// runs keeps the list of a device's modules.
func (c *core) runs(module *core, running bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !running {
		delete(c.modules, module)
		return
	}
	if c.modules == nil {
		c.modules = make(map[*core]struct{})
	}
	c.modules[module] = struct{}{}
}

// prepare checks the fields and builds, once, what the methods share. The credential, which may be
// the program's own, is asked without the lock.
func (m *Module) prepare(ctx context.Context) (*core, error) {
	if err := m.validate(ctx); err != nil {
		return nil, invalid(fmt.Errorf("module %q: %w", oneline.Of(m.ID, modelIDMax), err))
	}
	d, err := m.Device.prepare()
	if err != nil {
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.core == nil {
		m.core = m.newCore(d)
	}
	return m.core, nil
}

func (m *Module) validate(ctx context.Context) error {
	switch {
	case m.Device == nil:
		return errors.New("device is nil: set it to the one that the module is of")
	case m.ID == "":
		return errors.New("id is empty: set it to the module's at the hub")
	case m.Credential == nil:
		return errors.New("credential is nil: set it to the module's own key or certificate")
	}
	at := hubconn.Hub{Host: "hub", DeviceID: "device", ModuleID: m.ID}
	if err := at.Validate(); err != nil {
		return err
	}
	if err := checkModelID(m.ModelID); err != nil {
		return err
	}
	// What it lacks shows when it is used, which needs no network. What fails for another reason,
	// as a key in a module of hardware may, is for the next attempt.
	_, err := m.Credential.Certificate(ctx)
	if err == nil {
		_, err = m.Credential.Token(ctx, at.String(), time.Now())
	}
	if lacks, ok := errors.AsType[*dps.Error](err); ok && lacks.Op == opValidate {
		return fmt.Errorf("credential: %w", lacks.Err)
	}
	return nil
}

func (m *Module) newCore(d *core) *core {
	dialer := *d.dialer
	dialer.ModelID = m.ModelID
	registrationID := d.store.owner.attestation.RegistrationID()
	c := &core{
		identity: &identity{credential: m.Credential, moduleID: m.ID}, device: d,
		toHub: newHubChoice(m.Device), toDPS: newDPSChoice(m.Device), settings: d.settings,
		maxAttempts: d.maxAttempts, client: d.client, dpsHost: d.dpsHost, dialer: &dialer,
		clock: d.clock, budget: d.budget, random: jitter.New(registrationID + "/" + m.ID),
		name: name{device: registrationID, module: m.ID}, unlogged: d.unlogged,
		log: d.log.With(slog.String("module", m.ID)), lease: newLease(), calls: make(chan *call),
		nudges: make(chan struct{}, 1), published: make(chan struct{}),
		status: Status{
			State: StateStopped, RegistrationID: registrationID, ModuleID: m.ID,
		},
		store: entryStore{owner: &entryOwner{now: d.clock.Now}}, // it has no assignment of its own
	}
	if c.settings.AfterRejection == rules.Reregister {
		c.settings.AfterRejection = rules.ReregisterRarely
	}
	if m.Trace != nil {
		c.trace = Trace{
			Changed: m.Trace.Changed, Attempt: m.Trace.Attempt, StoreFailed: m.Trace.StoreFailed,
		}
	}
	c.waits = waits.Keeper{
		// no registration ID has a tilde, and no module ID, so that no two keys are the same
		Key: registrationID + "~module~" + m.ID, Clock: d.waits.Clock, Trusted: d.waits.Trusted,
		Store: d.waits.Store,
	}
	return c
}

// bootModule takes up what an earlier process was told to wait for, and where the device belongs.
func (l *loop) bootModule() {
	h := l.device.visit()
	l.toHub.since = h.over
	boot := rules.Boot{Next: retry.Wait, Confirmed: h.assignment.named()}
	l.loadWaits(&boot, l.moduleOwner)
	l.resumeTransports(&boot.Waits)
	l.beginWith(boot)
}

// moduleOwner is whose waits a module's are. A credential that has no fingerprint has changed
// without anybody noticing: what was waited for holds on.
func (c *core) moduleOwner() (owner waits.Owner, err error) {
	o := c.device.store.owner
	owner = waits.Owner{
		Scope: o.scope, Endpoint: o.endpoint,
		RegistrationID: o.attestation.RegistrationID() + "/" + c.identity.moduleID,
	}
	if f, ok := c.identity.credential.(interface {
		Fingerprint(ctx context.Context) (string, error)
	}); ok {
		owner.Fingerprint, err = f.Fingerprint(context.Background())
	}
	return owner, err
}
