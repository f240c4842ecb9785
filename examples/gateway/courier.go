// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/outbox"
)

const (
	// lookedFor is how often it is looked for messages of devices that have moved.
	lookedFor = time.Second
	// carriedAtOnce is for how many devices messages are handed over at once.
	carriedAtOnce = 16
)

var errMovedOn = errors.New("the device runs at another replica now")

// carry hands over what is kept here for devices that other replicas run, to these, until ctx ends:
// a device moves when a replica comes back, with messages under way. They arrive later than what
// the other replica has delivered meanwhile.
func (g *gateway) carry(ctx context.Context, r *replicas) {
	for tick := time.Tick(lookedFor); ; {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		places := make(chan struct{}, carriedAtOnce)
		var carrying sync.WaitGroup
		for id, box := range g.strays(r) {
			places <- struct{}{}
			carrying.Go(func() {
				defer func() { <-places }()
				g.carryOne(ctx, r, id, box)
			})
		}
		carrying.Wait()
	}
}

// strays are the outboxes that keep something for devices of other replicas.
func (g *gateway) strays(r *replicas) map[string]*outbox.Outbox {
	g.boxMu.Lock()
	boxes := maps.Clone(g.boxes)
	g.boxMu.Unlock()
	maps.DeleteFunc(boxes, func(id string, box *outbox.Outbox) bool {
		holder, err := r.holder(id)
		return err != nil || holder == "" || g.roll.find(id) == nil || box.Stats().Kept == 0
	})
	return boxes
}

// carryOne hands over what is kept for one device. What fails is tried again a second later.
func (g *gateway) carryOne(ctx context.Context, r *replicas, id string, box *outbox.Outbox) {
	take := func(ctx context.Context, alarm bool, messages []hubconn.Message) error {
		holder, err := r.holder(id)
		if err != nil || holder == "" {
			return errMovedOn
		}
		lane := intake.Telemetry
		if alarm {
			lane = intake.Alarms
		}
		return r.forward(ctx, holder, id, lane, messages)
	}
	before := box.Stats().HandedOver
	err := box.HandOver(ctx, take)
	if n := box.Stats().HandedOver - before; n > 0 {
		g.log.Info("messages handed over", "device", id, "messages", n)
	}
	if _, refused := errors.AsType[*intake.Refusal](err); err != nil && !refused &&
		ctx.Err() == nil && !errors.Is(err, errMovedOn) {
		g.log.Warn("messages not handed over", "device", id, "cause", err.Error())
	}
}
