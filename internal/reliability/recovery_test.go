// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// outage is how long a Device lives with a fault.
const outage = 10 * time.Minute

// life is what a Device's program does, time and again. It says each time that it went well.
type life func(ctx context.Context, w *world, dev *provisioning.Device, well func())

// back is how soon a Device has to do its work again once a fault is over, by the delays in the
// documentation of package provisioning: 5 s and 5 min at the hub, where a certificate that does
// not verify asks for a minute; 5 s and 1 h at DPS. One attempt may just have begun.
func (o *operation) back() time.Duration {
	switch {
	case o.peer == toDPS:
		return time.Hour + 5*time.Second + o.bound
	case o.lasts > 0:
		return o.lasts + o.bound
	case o.peer == toHub:
		return 6*time.Minute + o.bound
	}
	return between + max(o.bound, o.slowly) // the program tries again by itself
}

// recoverFrom has a Device live through a fault, and wants it back.
func recoverFrom(t *testing.T, o *operation, f fault) (back bool) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, o)
		defer w.close()
		w.way.spoil(f, nil)
		if f == refused && o.refuse != nil {
			o.refuse(w)
		}
		ctx, stop := context.WithCancel(t.Context())
		var tasks sync.WaitGroup
		defer tasks.Wait()
		defer stop()
		well := make(chan struct{}, 1)
		tasks.Go(func() {
			o.device(ctx, w, w.device(o), func() {
				select {
				case well <- struct{}{}:
				default:
				}
			})
		})
		for begun := time.Now(); time.Since(begun) < outage; time.Sleep(7 * time.Second) {
			w.way.strikeAll()
		}
		assert.False(t, w.way.metAt().IsZero(), "the fault was not met")
		w.mend()
		synctest.Wait()
		select {
		case <-well: // of the time before
		default:
		}
		select {
		case <-well:
			back = true
		case <-time.After(o.back()):
			t.Errorf("%v, and %v after it a Device is not back", f, o.back())
		}
	})
	return back
}

// device is a Device by the transports of an operation.
func (w *world) device(o *operation) *provisioning.Device {
	dev := &provisioning.Device{
		IDScope: w.service.IDScope(), Attestation: w.who, Store: &cache.Memory{},
		DialContext: w.way.DialContext, TLSConfig: w.network.TLSConfig(), Proxy: noProxy,
		Logger: slog.New(slog.DiscardHandler), Transport: o.dps,
	}
	dev.Hub.Transport, dev.Hub.APIVersion = o.hub, o.version
	if o.dps == dps.MQTTWebSocket {
		dev.Hub.Transport = hubconn.MQTTWebSocket
	} else if o.hub == hubconn.Auto {
		dev.Hub.Transport = hubconn.MQTT
	}
	if o.dps == dps.Auto {
		dev.Transport = dps.HTTPS
	}
	return dev
}

// repeat does something every so often, until ctx ends.
func repeat(ctx context.Context, well func(), do func() error) {
	for ctx.Err() == nil {
		if do() == nil {
			well()
		}
		select {
		case <-time.After(between):
		case <-ctx.Done():
		}
	}
}

// stays is connected, and uses the connection.
func stays(ctx context.Context, _ *world, dev *provisioning.Device, well func()) {
	_ = dev.Run(ctx, func(ctx context.Context, conn *hubconn.Conn) error {
		repeat(ctx, well, func() error {
			if _, err := conn.Twin(ctx); err != nil {
				return err
			}
			return conn.Send(ctx, hubconn.Message{Body: []byte("21.5")})
		})
		return context.Cause(ctx)
	})
}

// remembersNothing begins with a status lookup.
func remembersNothing(ctx context.Context, w *world, dev *provisioning.Device, well func()) {
	dev.Store = nil
	stays(ctx, w, dev, well)
}

// bootsIn1970 is connected once somebody has told it the time: no certificate of a service is valid
// by its clock.
func bootsIn1970(ctx context.Context, w *world, dev *provisioning.Device, well func()) {
	booted := time.Now()
	dev.TLSConfig.Time = func() time.Time { return time.Unix(0, 0).Add(time.Since(booted)) }
	stays(ctx, w, dev, well)
}

func sends(ctx context.Context, _ *world, dev *provisioning.Device, well func()) {
	repeat(ctx, well, func() error {
		return dev.Send(ctx, hubconn.Message{Body: []byte("21.5")})
	})
}

func receives(ctx context.Context, _ *world, dev *provisioning.Device, well func()) {
	repeat(ctx, well, func() error {
		_, err := dev.Receive(ctx)
		return err
	})
}

// completes is a program that handles a message, and says so. The operator sends one if none waits.
func completes(ctx context.Context, w *world, dev *provisioning.Device, well func()) {
	repeat(ctx, well, func() error {
		_ = w.hub.SendC2D(deviceID, hubtest.C2D{Body: []byte("23")}) // full, or not known yet
		delivery, err := dev.Receive(ctx)
		if err != nil {
			return err
		}
		if delivery == nil {
			return errQuiet
		}
		return delivery.Complete(ctx)
	})
}

// renews asks for a certificate, and goes on with its own request where it has not heard the end.
func renews(ctx context.Context, w *world, dev *provisioning.Device, well func()) {
	_ = dev.Run(ctx, func(ctx context.Context, conn *hubconn.Conn) error {
		identity, _ := w.hub.Get(deviceID)
		identity.CertificatePolicy = w.policy // as the hub's operator has it
		if err := w.hub.Put(identity); err != nil {
			return err
		}
		repeat(ctx, well, func() error { return askForCertificate(ctx, w, conn) })
		return context.Cause(ctx)
	})
}

func uploadsFiles(ctx context.Context, w *world, dev *provisioning.Device, well func()) {
	_ = dev.Run(ctx, func(ctx context.Context, conn *hubconn.Conn) error {
		repeat(ctx, well, func() error {
			return conn.Upload(ctx, "log.txt", newSource(ctx, w, 3<<10), hubconn.UploadOptions{
				BlockSize: 1 << 10, MaxRetries: -1,
			})
		})
		return context.Cause(ctx)
	})
}
