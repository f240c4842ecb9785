// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/provisioning"
)

// How long a connection that does not answer may hold up the end of the program, and a reboot.
const (
	goodbye       = 2500 * time.Millisecond
	rebootGoodbye = time.Minute
)

var (
	errStopped = errors.New("asked to stop")
	// errReboot is what serve returns when the program is to start over.
	errReboot = errors.New("asked to reboot")
)

// serve runs the device until a signal or a reboot ends it.
func serve(
	dev *provisioning.Device, o *options, log *slog.Logger, signals *inbox, report *reporter,
) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)

	log = log.With("device", dev.Attestation.RegistrationID()) // as on the library's lines
	log.Info("thermostat starts", "version", settings.Version(), "id_scope", dev.IDScope)
	orders := newOrders()
	t := &thermostat{
		dev: dev, log: log, interval: o.interval, room: newRoom(), orders: orders,
		ids: messageIDs{start: newStart()},
	}
	dev.Trace = &provisioning.Trace{Changed: report.changed}
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- dev.Run(ctx, t.session) })
	if module := o.NewModule(dev); module != nil {
		running.Go(func() { t.runModule(ctx, module) })
	}
	running.Go(func() { settings.WarnAboutFiles(ctx, dev.Attestation, log) })
	running.Go(func() { reprovisionOnRequest(ctx, dev, signals, orders, report, log) })
	running.Go(func() { report.watch(ctx, dev, log) })
	if o.Store != "" {
		running.Go(func() { report.answer(ctx, o.Store, dev, log) })
	}
	gone := make(chan struct{})
	go func() {
		running.Wait()
		close(gone)
	}()

	var reboot <-chan time.Time
	for reboots := false; !reboots; {
		select {
		case err := <-ended:
			cancel(nil)
			<-gone
			return err
		case sig := <-signals.stop:
			stop(sig.String(), cancel, gone, signals, report, log)
			return nil
		case <-report.pings:
		case delay := <-orders.reboot:
			log.Info("rebooting", "cause", "direct method", "wait", delay.Seconds())
			reboot = time.After(delay)
		case <-reboot:
			reboots = true
		}
	}
	log.Info("thermostat stops", "cause", "reboot")
	cancel(errReboot)
	select {
	case <-gone:
		// only now: the next start is the same device, and would push this one from the hub
		return errReboot
	case sig := <-signals.stop:
		stop(sig.String(), cancel, gone, signals, report, log)
		return nil
	case <-time.After(rebootGoodbye):
		return errors.New("the connection does not close: ending in place of the reboot")
	}
}

// stop ends what runs, but waits no longer than goodbye.
func stop(
	cause string, cancel context.CancelCauseFunc, gone <-chan struct{}, signals *inbox,
	report *reporter, log *slog.Logger,
) {
	signals.stopping()
	report.stopping(cause)
	log.Info("thermostat stops", "cause", cause)
	cancel(errStopped)
	select {
	case <-gone:
	case <-time.After(goodbye):
		log.Warn("connection does not close")
	}
}

// reprovisionOnRequest asks DPS again whenever a SIGHUP or the direct method says so. Requests that
// come meanwhile count as one more.
func reprovisionOnRequest(
	ctx context.Context, dev *provisioning.Device, signals *inbox, orders *orders,
	report *reporter, log *slog.Logger,
) {
	for {
		cause := "SIGHUP"
		select {
		case <-ctx.Done():
			return
		case <-signals.reprovision:
		case cause = <-orders.reprovision:
		}
		log.Info("reprovisioning", "cause", cause)
		reloaded := report.reloading()
		a, err := dev.Reprovision(ctx, cause)
		reloaded()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("reprovisioning failed", failure(err))
		default:
			log.Info(
				"reprovisioned", "hub", a.Hub, "device_id", a.DeviceID, "substatus", a.Substatus,
			)
		}
	}
}
