// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rehome-iot/rehome/cache/boltstore"
	"github.com/rehome-iot/rehome/examples/gateway/identities"
	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/systemd"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

const (
	// stopTimeout is how long sessions and connections have at the end. The whole takes some 3 s.
	stopTimeout = 2 * time.Second
	// openTimeout is how long a former process that ends may keep the files.
	openTimeout = 5 * time.Second
)

var errStopped = errors.New("asked to stop")

// gateway is the program: the devices, what they remember, what is kept for them, and who is
// listened to.
type gateway struct {
	o     *options
	log   *slog.Logger
	list  *identityList
	fleet *fleet.Fleet
	store store
	file  *outbox.File
	trace *provisioning.Trace

	budget  *fleet.Budget
	joined  atomic.Pointer[replicas] // nil: there is one replica, or it has not joined yet
	leaving []func() error           // what takes leave of the others, in the order of joining
	metrics *metrics
	began   time.Time
	boot    boot

	boxMu sync.Mutex
	boxes map[string]*outbox.Outbox // those that were asked for, by ID in lower case

	closers []func() error // in the order of opening
}

// open opens the files, which takes long where much is kept: between is called meanwhile, and ends
// it by an error. What is wrong with the files is one line.
func open(
	o *options, list []identities.Identity, log *slog.Logger, between func() error,
) (g *gateway, err error) {
	g = &gateway{
		o: o, log: log, list: newIdentityList(list), began: time.Now(),
		boxes:  map[string]*outbox.Outbox{},
		budget: &fleet.Budget{DPSPerMinute: o.dpsPerMinute, HubPerSecond: o.hubPerSecond},
	}
	defer func() {
		if err != nil {
			_ = g.close()
		}
	}()
	if err := os.MkdirAll(o.dir, 0o700); err != nil {
		return g, o.Wrong("dir", fmt.Errorf("%w: name a directory that this user may make", err))
	}
	options := outbox.Options{
		Interval: o.commitInterval, MaxBytes: o.keepBytes, MaxAlarmBytes: o.keepBytes,
		MaxAge: o.keepFor, Timeout: openTimeout, Logger: log,
	}
	if o.full == "newest" {
		options.Full = outbox.DropNewest
	}
	if g.file, err = outbox.Open(filepath.Join(o.dir, "outbox.db"), options); err != nil {
		return g, err
	}
	g.closers = append(g.closers, g.file.Close)
	if err := g.openBoxes(between); err != nil {
		return g, err
	}
	if !o.replicated() {
		local := &boltstore.Store{Path: filepath.Join(o.dir, "store.db"), Timeout: openTimeout}
		if err := local.Open(); err != nil {
			return g, err
		}
		g.closers = append(g.closers, local.Close)
		g.store = local
	}
	if !o.replicated() {
		g.boot.set(starting, len(list))
	}
	g.fleet = &fleet.Fleet{
		Device: g.newDevice, Session: g.session, Budget: g.budget, Logger: log,
		StopTimeout: stopTimeout,
	}
	g.metrics = newMetrics(g)
	g.trace = g.metrics.devices.Trace(nil)
	ids := make([]string, len(list))
	for i := range list {
		ids[i] = list[i].ID
	}
	return g, g.fleet.Add(ids...)
}

// close closes what is open, the last first.
func (g *gateway) close() (err error) {
	for i := len(g.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, g.closers[i]())
	}
	g.closers = nil
	return err
}

// openBoxes opens the outboxes of those for whom the file has something: they count from the start,
// for which all that is kept is read.
func (g *gateway) openBoxes(between func() error) error {
	devices, err := g.file.Devices()
	if err != nil {
		return err
	}
	for _, id := range devices {
		if err := between(); err != nil {
			return err
		}
		if _, err := g.box(id); err != nil {
			return err
		}
	}
	return nil
}

// box is the outbox of a device.
func (g *gateway) box(id string) (*outbox.Outbox, error) {
	id = strings.ToLower(id)
	g.boxMu.Lock()
	defer g.boxMu.Unlock()
	if box := g.boxes[id]; box != nil {
		return box, nil
	}
	box, err := g.file.Outbox(id)
	if err == nil {
		g.boxes[id] = box
	}
	return box, err
}

// serve runs all until a signal ends it.
func (g *gateway) serve(received *signals, manager *systemd.Notifier) (err error) {
	defer func() { err = errors.Join(err, g.close()) }()
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	listeners, err := g.listen()
	if err != nil {
		return settings.UsageError{Err: err}
	}
	g.log.Info("gateway starts", "version", settings.Version(), "id_scope", g.o.IDScope,
		"identities", g.list.len(), "http", listeners.httpAt(), "mqtt", listeners.mqttAt())
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- g.run(ctx) })
	running.Go(func() { g.watchBoot(ctx) })
	running.Go(func() { g.watchReload(ctx, received.reload, manager) })
	_ = manager.Send("READY=1")
	report := time.NewTicker(reportEvery(manager))
	defer report.Stop()
	for err == nil {
		select {
		case <-report.C:
			_ = manager.Alive(0) // it has asked all devices, and the loop is alive
			_ = manager.Send(systemd.Status(g.summary()))
		case err = <-ended:
		case sig := <-received.stop:
			received.stopping()
			g.log.Info("gateway stops", "cause", sig.String())
			_ = manager.Send("STOPPING=1", systemd.Status("stopping: "+sig.String()))
			err = errStopped
		}
	}
	g.boot.stopping()
	cancel(err)
	listeners.close()
	running.Wait()
	if errors.Is(err, errStopped) {
		err = nil
	}
	return err
}

// run runs the devices, once the replicas have met.
func (g *gateway) run(ctx context.Context) error {
	if g.o.replicated() {
		defer g.leave()
		if err := g.join(ctx); err != nil {
			return err
		}
		handing, stop := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			newHandOver(g, g.joined.Load()).run(handing)
		}()
		defer func() { // before it leaves
			stop()
			<-done
		}()
	}
	err := g.fleet.Run(ctx)
	if failure, ok := errors.AsType[*fleet.Error](err); ok && failure.Op == "stop" {
		err = failure.Err // who has not ended is in the log; the process ends now
	}
	return err
}
