// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// send sends a message for each device each time, to whichever replica, until ctx ends. What one
// does not take, as it has died, the next one gets.
func (w *world) send(ctx context.Context, every time.Duration) {
	var senders sync.WaitGroup
	defer senders.Wait()
	for _, id := range w.ids {
		senders.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				w.sendOne(ctx, id, fmt.Sprintf(`{"n":%d}`, n))
				select {
				case <-time.After(every/2 + rand.N(every)):
				case <-ctx.Done():
				}
			}
		})
	}
}

func (w *world) sendOne(ctx context.Context, id, body string) {
	first := rand.IntN(len(w.replicas))
	for try := 0; ctx.Err() == nil; try++ {
		r := w.replicas[(first+try)%len(w.replicas)]
		if !r.dead() && r.post(id, body) {
			w.kept.Add(1)
			return
		}
		w.refused.Add(1)
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// summary is how the devices are spread.
func (w *world) summary() string {
	parts := []string{fmt.Sprintf("%d of %d devices connected", w.connected(), len(w.ids))}
	for _, r := range w.replicas {
		if n, ok := r.runs(); ok {
			parts = append(parts, fmt.Sprintf("%s has %d", r.name, n))
		} else {
			parts = append(parts, r.name+" is dead")
		}
	}
	return strings.Join(parts, ", ")
}

// figures are what has been counted.
func (w *world) figures() string {
	return fmt.Sprintf("%d messages kept, %d at the hub; %d requests to DPS at the start, %d since",
		w.kept.Load(), len(w.hub.Messages()), w.booted, w.dps.Count()-w.booted)
}
