// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/fleet"
)

// boot is how far the start has come. It is over when each identity that is to run here has had its
// first outcome: a connection, or a failure that its status tells. A hub that is away keeps no
// replica from being ready, since it takes messages all the same.
type boot struct {
	mu    sync.Mutex
	phase phase
	left  int // identities without an outcome
}

type phase int

const (
	joining  phase = iota // the other replicas are not known yet
	starting              // identities have had no outcome
	ready
	ending
)

func (b *boot) set(p phase, left int) (changed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.phase >= ready && p < ending {
		return false // it was over once: devices may come and go
	}
	changed = b.phase != p
	b.phase, b.left = p, left
	return changed
}

func (b *boot) stopping() { b.set(ending, 0) }

func (b *boot) at() (phase, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.phase, b.left
}

// bootTick is how often it is looked at all devices while they start: for twenty minutes, where
// thousands register.
const bootTick = time.Second

// watchBoot looks until the boot is over.
func (g *gateway) watchBoot(ctx context.Context) {
	for tick := time.Tick(bootTick); ; {
		phase, left := g.progress()
		if g.boot.set(phase, left) && phase == ready {
			g.log.Info("gateway is ready", "after", time.Since(g.began).Seconds())
		}
		if phase == ready {
			return
		}
		select {
		case <-tick:
		case <-ctx.Done():
			return
		}
	}
}

// progress counts the identities that have had no outcome.
func (g *gateway) progress() (p phase, left int) {
	if g.o.replicated() {
		s := g.fleet.Leased()
		switch {
		case len(s.Members) == 0 || s.Away != nil:
			return joining, 0
		case s.Held < s.Placed:
			return starting, s.Placed - s.Held
		}
	}
	for id, s := range g.fleet.Status() {
		if g.runsHere(id) && !hasOutcome(&s) {
			left++
		}
	}
	if left > 0 {
		return starting, left
	}
	return ready, 0
}

func hasOutcome(s *fleet.Status) bool {
	return s.Device.State == provisioning.StateConnected || s.Device.Connections > 0 ||
		s.Device.Err != nil || s.Err != nil || s.Finished
}

// serveReady is /readyz.
func (g *gateway) serveReady(w http.ResponseWriter, _ *http.Request) {
	phase, left := g.boot.at()
	text, good := "", false
	switch phase {
	case joining:
		text = "the other replicas are not known yet"
	case starting:
		text = fmt.Sprintf("%d identities have not had their first outcome", left)
	case ending:
		text = "stopping"
	case ready:
		text, good = "ready", true
	}
	if s := g.file.Stats(); s.Err != nil {
		text, good = "messages cannot be kept: "+s.Err.Error(), false
	}
	if !good {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = w.Write([]byte(text + "\n"))
}
