// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"strings"
	"sync"
)

// feedSize bounds the patches that wait for a loop over Desired. One that finds no room throws away
// all of them: the loop then gets the whole state instead.
const feedSize = 64

// patch is a change of desired properties, as the hub sends it.
type patch struct {
	properties Properties
	readable   bool
	number     uint64 // the how-manieth it is on the connection, from 1
}

// parsePatch reads a patch: topic $iothub/twin/PATCH/properties/desired/?$version={version}, body
// {…, "$version": version}.
func parsePatch(topic string, body []byte) patch {
	p, err := parseProperties(body)
	parameters(strings.TrimPrefix(topic, desiredPatches), func(name, value string) {
		if v := parseVersion(value); name == "$version" && v > 0 {
			p.Version = v
		}
	})
	return patch{properties: p, readable: err == nil && p.Version > 0}
}

// feed is what has come for one loop over Desired.
type feed struct {
	mu      sync.Mutex
	queue   []patch
	stale   bool  // something may have been missed
	lost    int64 // the highest version of what was thrown away; 0: nothing was
	arrived chan struct{}
}

func (f *feed) push(p patch) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.queue) == feedSize || !p.readable {
		f.queue, f.stale, f.lost = nil, true, max(f.lost, p.properties.Version)
	} else {
		f.queue = append(f.queue, p)
	}
	signal(f.arrived)
}

func (f *feed) markStale() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stale = true
	signal(f.arrived)
}

// pop removes the next patch; or reports, once, that the state has to be requested. p then has the
// version that the state must have reached, if that is known: the hub may respond with a state from
// before the patches that were thrown away here.
func (f *feed) pop() (p patch, ok, stale bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stale {
		p.properties.Version = f.lost
		f.stale, f.lost = false, 0
		return p, false, true
	}
	if len(f.queue) == 0 {
		return p, false, false
	}
	p = f.queue[0]
	f.queue[0] = patch{}
	f.queue = f.queue[1:]
	return p, true, false
}

// feeds are those of all loops over Desired.
type feeds struct {
	mu       sync.Mutex
	all      map[*feed]struct{}
	received uint64 // patches
}

func (fs *feeds) open() *feed {
	f := &feed{arrived: make(chan struct{}, 1)}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.all == nil {
		fs.all = map[*feed]struct{}{}
	}
	fs.all[f] = struct{}{}
	return f
}

func (fs *feeds) close(f *feed) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.all, f)
}

func (fs *feeds) push(p patch) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.received++
	p.number = fs.received
	for f := range fs.all {
		f.push(p)
	}
}

// count returns how many patches have arrived.
func (fs *feeds) count() uint64 {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.received
}

// markStale lets every loop request the state, since patches may have been missed, as while there
// was no link.
func (fs *feeds) markStale() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		f.markStale()
	}
}
