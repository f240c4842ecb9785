// SPDX-License-Identifier: Apache-2.0

// Command outboxdevice is a device whose telemetry is kept over outages and restarts: a program to
// start from. It measures every second, whether it has a connection or not, and an alarm goes
// before all that is kept. Its settings are ID_SCOPE, REGISTRATION_ID and DEVICE_KEY in the
// environment, and -store, the directory that remembers.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/outbox"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func main() {
	store := flag.String("store", "store", "directory of what is remembered and kept")
	every := flag.Duration("every", time.Second, "time between two measurements")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *store, *every); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, store string, every time.Duration) error {
	if every <= 0 {
		return fmt.Errorf("-every is %v: use a positive time, such as 1s", every)
	}
	sim, err := simdial.FromEnv() // a simulator if REHOME_SIMULATOR is set, else Azure
	if err != nil {
		return err
	}
	id := os.Getenv("REGISTRATION_ID")
	dev := &provisioning.Device{
		IDScope:     os.Getenv("ID_SCOPE"),
		Attestation: dps.SymmetricKey{ID: id, Key: os.Getenv("DEVICE_KEY")},
		Store:       cache.Dir(store),
		Logger:      slog.Default(),
		DialContext: sim.DialContext,
		TLSConfig:   sim.TLSConfig,
	}
	file, err := outbox.Open(filepath.Join(store, "outbox.db"), outbox.Options{
		MaxAge: 7 * 24 * time.Hour, Now: dev.Now, Logger: slog.Default(),
	})
	if err != nil {
		return err
	}
	defer file.Close()
	box, err := file.Outbox(id)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	measuring := make(chan struct{})
	go func() {
		defer close(measuring)
		measure(ctx, box, dev.Now, every)
	}()
	defer func() { // before the file is closed
		cancel()
		<-measuring
	}()
	return dev.Run(ctx, box.Deliver)
}

// measure keeps a measurement each time, and an alarm where it is too hot.
func measure(
	ctx context.Context, box *outbox.Outbox, now func() time.Time, every time.Duration,
) {
	for tick := time.Tick(every); ; {
		temperature := 20 + 5*rand.NormFloat64()
		m := hubconn.Message{
			Body:            fmt.Appendf(nil, `{"temperature":%.1f}`, temperature),
			ContentType:     "application/json",
			ContentEncoding: "utf-8",
			CreationTime:    now(), // it may be delivered much later
		}
		keep := box.Send
		if temperature > 30 {
			keep, m.Properties = box.SendAlarm, map[string]string{"alarm": "hot"}
		}
		if err := keep(ctx, m); err != nil && ctx.Err() == nil {
			log.Print(err)
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}
