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
	// handOverInterval is how often it is looked for messages of devices that have moved.
	handOverInterval = time.Second
	// handOversAtOnce is for how many devices messages are handed over at once.
	handOversAtOnce = 16
	// longestHandOverWait is how long a device's messages wait at most, after several refusals.
	longestHandOverWait = time.Minute
)

var errMovedOn = errors.New("the device runs at another replica now")

// A handOver hands over what is kept here for devices that other replicas run, to these: a device
// moves when a replica comes back, with messages under way. They arrive later than what the other
// replica has delivered meanwhile. What is refused is not offered again and again: all of it would
// be read and sent each time, by a whole fleet where its hub is away and nobody has room.
type handOver struct {
	gateway  *gateway
	replicas *replicas

	mu    sync.Mutex
	waits map[string]handOverWait // of devices whose messages were refused
}

type handOverWait struct {
	until  time.Time
	length time.Duration
}

// handOverResult is what has come of one device, and of all of a pass.
type handOverResult struct {
	devices, messages int
	failed            int // devices whose messages have to wait for somebody to mend something
	err               error
}

func newHandOver(g *gateway, r *replicas) *handOver {
	return &handOver{gateway: g, replicas: r, waits: map[string]handOverWait{}}
}

// run passes over the outboxes until ctx ends.
func (h *handOver) run(ctx context.Context) {
	for tick := time.Tick(handOverInterval); ; {
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
		h.pass(ctx, time.Now())
	}
}

// pass hands over, once, what is due at that time.
func (h *handOver) pass(ctx context.Context, now time.Time) {
	var sum handOverResult
	var mu sync.Mutex
	places := make(chan struct{}, handOversAtOnce)
	var running sync.WaitGroup
	for id, box := range h.due(now) {
		places <- struct{}{}
		running.Go(func() {
			defer func() { <-places }()
			messages, err := h.device(ctx, id, box)
			failed := h.conclude(ctx, id, now, messages, err)
			mu.Lock()
			defer mu.Unlock()
			sum.messages += messages
			if messages > 0 {
				sum.devices++
			}
			if failed {
				sum.failed++
				sum.err = err
			}
		})
	}
	running.Wait()
	if sum.messages > 0 {
		h.gateway.log.Info("messages handed over", "devices", sum.devices,
			"messages", sum.messages)
	}
	if sum.failed > 0 {
		h.gateway.log.Warn("messages not handed over", "devices", sum.failed,
			"cause", line(sum.err))
	}
}

// due are the outboxes that keep something for devices of other replicas, and need not wait.
func (h *handOver) due(now time.Time) map[string]*outbox.Outbox {
	g := h.gateway
	g.boxMu.Lock()
	boxes := maps.Clone(g.boxes)
	g.boxMu.Unlock()
	maps.DeleteFunc(boxes, func(id string, box *outbox.Outbox) bool {
		holder, err := h.replicas.holder(id)
		return err != nil || holder == "" || g.list.find(id) == nil || box.Stats().Kept == 0
	})
	h.mu.Lock()
	defer h.mu.Unlock()
	maps.DeleteFunc(h.waits, func(id string, _ handOverWait) bool { return boxes[id] == nil })
	maps.DeleteFunc(boxes, func(id string, _ *outbox.Outbox) bool {
		return now.Before(h.waits[id].until)
	})
	return boxes
}

// device hands over what is kept for one device, and returns how many messages the other has taken.
func (h *handOver) device(
	ctx context.Context, id string, box *outbox.Outbox,
) (messages int, err error) {
	take := func(ctx context.Context, alarm bool, some []hubconn.Message) error {
		holder, err := h.replicas.holder(id)
		if err != nil || holder == "" {
			return errMovedOn
		}
		lane := intake.Telemetry
		if alarm {
			lane = intake.Alarms
		}
		if err := h.replicas.forward(ctx, holder, id, lane, some); err != nil {
			return err
		}
		messages += len(some)
		return nil
	}
	err = box.HandOver(ctx, take)
	return messages, err
}

// conclude notes when a device's messages are offered again: after as long as the other replica
// says, twice that after the next refusal, and a minute at most. It says whether that is in vain
// before somebody has mended something.
func (h *handOver) conclude(
	ctx context.Context, id string, now time.Time, messages int, err error,
) (failed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if messages > 0 { // there is room again, now and then
		delete(h.waits, id)
	}
	if err == nil || ctx.Err() != nil || errors.Is(err, errMovedOn) {
		delete(h.waits, id)
		return false
	}
	refusal, refused := errors.AsType[*intake.Refusal](err)
	wait := handOverInterval
	if refused {
		wait = max(wait, refusal.RetryAfter)
	}
	wait = min(max(wait, 2*h.waits[id].length), longestHandOverWait)
	h.waits[id] = handOverWait{now.Add(wait), wait}
	return !refused || refusal.Permanent()
}
