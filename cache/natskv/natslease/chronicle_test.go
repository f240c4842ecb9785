// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/natskv"
)

// A chronicle is who is connected by which gateway, and when what has happened since a death.
type chronicle struct {
	mu       sync.Mutex
	sessions map[string]map[*gateway]time.Time // since when, by identity
	by       map[*gateway]int
	longest  time.Duration // that an identity was connected by two

	began                time.Time
	gets, ups            span
	reads, failed, moved int
	slowest              time.Duration // read
	firstFailure         error
}

// A span is from the first of some events to the last of them.
type span struct{ first, last time.Time }

func (s *span) take(at time.Time) {
	if s.first.IsZero() {
		s.first = at
	}
	s.last = at
}

func newChronicle() *chronicle {
	return &chronicle{sessions: map[string]map[*gateway]time.Time{}, by: map[*gateway]int{}}
}

// begin begins a page: what was before is not on it.
func (c *chronicle) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.began, c.gets, c.ups = time.Now(), span{}, span{}
	c.reads, c.moved, c.slowest = 0, 0, 0
}

func (c *chronicle) connected(id string, g *gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if c.sessions[id] == nil {
		c.sessions[id] = map[*gateway]time.Time{}
	}
	c.sessions[id][g] = now
	c.by[g]++
	c.moved++
	c.ups.take(now)
}

func (c *chronicle) disconnected(id string, g *gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.longest = max(c.longest, c.twice(id))
	delete(c.sessions[id], g)
	c.by[g]--
}

// forget drops a gateway that has ended.
func (c *chronicle) forget(g *gateway) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.by, g)
}

// twice is for how long an identity has been connected by two gateways. mu is held.
func (c *chronicle) twice(id string) time.Duration {
	if len(c.sessions[id]) < 2 {
		return 0
	}
	var last time.Time
	for at := range maps.Values(c.sessions[id]) {
		if at.After(last) {
			last = at
		}
	}
	return time.Since(last)
}

// longestTwice is for how long an identity was connected by two gateways at most, so far.
func (c *chronicle) longestTwice() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.sessions {
		c.longest = max(c.longest, c.twice(id))
	}
	return c.longest
}

// of is how many identities a gateway has connected.
func (c *chronicle) of(g *gateway) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.by[g]
}

func (c *chronicle) read(began time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gets.take(began)
	c.gets.last = time.Now()
	c.reads++
	c.slowest = max(c.slowest, time.Since(began))
	if err != nil && !errors.Is(err, cache.ErrMiss) {
		if c.failed++; c.firstFailure == nil {
			c.firstFailure = err
		}
	}
}

// tell is the page: what came when, in seconds since it was begun.
func (c *chronicle) tell() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	at := func(t time.Time) float64 {
		if t.IsZero() {
			return 0
		}
		return t.Sub(c.began).Seconds()
	}
	return fmt.Sprintf("first read of the store at %.1f s, last of %d at %.1f s, the slowest took "+
		"%.1f s; first connected at %.1f s, last of %d at %.1f s",
		at(c.gets.first), c.reads, at(c.gets.last), c.slowest.Seconds(),
		at(c.ups.first), c.moved, at(c.ups.last))
}

// failures is how many reads have failed, and why the first did.
func (c *chronicle) failures() (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failed, c.firstFailure
}

// A readStore is a Store whose reads are in the chronicle.
type readStore struct {
	*natskv.Store
	chronicle *chronicle
}

func (s readStore) Get(ctx context.Context, key string) ([]byte, error) {
	began := time.Now()
	data, err := s.Store.Get(ctx, key)
	if ctx.Err() == nil {
		s.chronicle.read(began, err)
	}
	return data, err
}
