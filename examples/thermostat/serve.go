package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
)

// goodbye is how long a connection that does not answer may hold up the end of the program.
const goodbye = 2500 * time.Millisecond

var errStopped = errors.New("asked to stop")

// serve runs the device until a signal ends it.
func serve(dev *provisioning.Device, s *settings, log *slog.Logger, signals *inbox) error {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)

	log.Info("thermostat starts", "version", version(), "registrationId", dev.Attestation.RegistrationID(), "idScope", dev.IDScope)
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- dev.Run(ctx, sendTelemetry(s.interval, newThermometer(), log)) })
	running.Go(func() { reprovisionOnRequest(ctx, dev, signals, log) })

	select {
	case err := <-ended:
		cancel(nil)
		running.Wait()
		return err
	case sig := <-signals.stop:
		signals.stopping()
		log.Info("thermostat stops", "cause", sig.String())
		cancel(errStopped)
	}
	gone := make(chan struct{})
	go func() {
		running.Wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(goodbye):
		log.Warn("the connection does not close: ending without it")
	}
	return nil
}

// reprovisionOnRequest asks DPS again whenever a SIGHUP comes. Those that come meanwhile count as one more.
func reprovisionOnRequest(ctx context.Context, dev *provisioning.Device, signals *inbox, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-signals.reprovision:
		}
		log.Info("reprovisioning", "cause", "SIGHUP")
		switch a, err := dev.Reprovision(ctx); {
		case ctx.Err() != nil:
			return
		case err != nil:
			log.Error("reprovisioning failed: nothing has changed", "cause", err.Error())
		default:
			log.Info("reprovisioned", "hub", a.Hub, "deviceId", a.DeviceID, "substatus", a.Substatus)
		}
	}
}
