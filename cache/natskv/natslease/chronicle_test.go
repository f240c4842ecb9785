// SPDX-License-Identifier: Apache-2.0

package natslease_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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
	reading, handshaking parts
	known                map[string]time.Time // when its last read had ended, by identity
	failed               int
	firstFailure         error
}

// parts are times of the same kind, of one device each.
type parts struct {
	n        int
	sum, max time.Duration
}

func (p *parts) add(took time.Duration) {
	p.n++
	p.sum += took
	p.max = max(p.max, took)
}

func (p *parts) String() string {
	return fmt.Sprintf("%.0f ms on average, %.1f s at most",
		1000*p.sum.Seconds()/float64(max(p.n, 1)), p.max.Seconds())
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
	c.reading, c.handshaking, c.known = parts{}, parts{}, map[string]time.Time{}
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
	c.ups.take(now)
	c.handshaking.add(now.Sub(c.known[id]))
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

func (c *chronicle) read(id string, began time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	c.gets.take(began)
	c.gets.last = now
	c.known[id] = now
	c.reading.add(now.Sub(began))
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
	return fmt.Sprintf("reads of the store began at %.1f s and ended at %.1f s, one took %v; "+
		"devices were connected from %.1f s to %.1f s, one took %v",
		at(c.gets.first), at(c.gets.last), &c.reading,
		at(c.ups.first), at(c.ups.last), &c.handshaking)
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
		s.chronicle.read(strings.TrimSuffix(key, "~waits"), began, err)
	}
	return data, err
}
