// SPDX-License-Identifier: Apache-2.0

package leasetest

import (
	"slices"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

// A Group is replicas in memory, and the service of leases between them. Its zero value is ready;
// it must not be copied. Its methods and those of its replicas are safe for concurrent use.
type Group struct {
	// Lease is for how long a replica that is cut off may use its leases for new connections, and
	// after how long others may take them; 15 s by default.
	Lease time.Duration

	mu    sync.Mutex
	away  bool
	all   []*Replica             // that have not left
	alive map[string]*Replica    // that nobody takes for dead
	held  map[string]*groupLease // by identity; of one that is not alive it is to be had
	fence uint64
}

// Join starts a replica. It panics if there is one of that name.
func (g *Group) Join(name string) *Replica {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.alive == nil {
		g.alive, g.held = map[string]*Replica{}, map[string]*groupLease{}
	}
	for _, r := range g.all {
		if r.name == name {
			panic("leasetest: there is a replica of the name " + name)
		}
	}
	r := &Replica{
		group: g, name: name, leases: map[string]*groupLease{}, watchers: map[*watcher]struct{}{},
	}
	g.all = append(g.all, r)
	g.alive[name] = r
	g.changed()
	return r
}

// Away has the service fail for all replicas, until it is told to be back. Nobody is taken for dead
// meanwhile, nor before a replica that is cut off has had the time of a lease again.
func (g *Group) Away(away bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.away = away
	for _, r := range slices.Clone(g.all) {
		r.update()
	}
	g.changed()
}

func (g *Group) lease() time.Duration {
	if g.Lease > 0 {
		return g.Lease
	}
	return 15 * time.Second
}

// holder is who has the lease of identity, nil if it is to be had. mu is held.
func (g *Group) holder(identity string) *groupLease {
	l := g.held[identity]
	if l == nil || g.alive[l.replica.name] != l.replica {
		return nil
	}
	return l
}

// changed tells all that the members may be others; mu is held.
func (g *Group) changed() {
	for _, r := range g.all {
		for w := range r.watchers {
			w.tell()
		}
	}
}

// Cut cuts the replica off from the service, until it is told to be back. After the time of a lease
// the others take it for dead. When it is back, it goes on with what nobody has taken over.
func (r *Replica) Cut(cut bool) {
	g := r.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if r.closed {
		return
	}
	r.cut = cut
	r.update()
	g.changed()
}

// update does what follows from being cut off, and from being back. Group.mu is held.
func (r *Replica) update() {
	g := r.group
	if r.expiry != nil {
		r.expiry.Stop()
		r.expiry = nil
	}
	switch {
	case !r.cut && !g.away:
		r.lost = time.Time{}
		if g.alive[r.name] != r {
			g.alive[r.name] = r
			r.resume()
		}
		return
	case r.lost.IsZero():
		r.lost = time.Now()
	}
	if r.cut && !g.away && g.alive[r.name] == r {
		r.expiry = time.AfterFunc(g.lease(), func() {
			g.mu.Lock()
			defer g.mu.Unlock()
			if r.cut && !g.away && !r.closed {
				delete(g.alive, r.name)
				g.changed()
			}
		})
	}
}

// resume ends the leases that others have now, and takes the rest anew. Group.mu is held.
func (r *Replica) resume() {
	g := r.group
	for identity, l := range r.leases {
		now := g.held[identity]
		if now == l {
			g.fence++
			l.fence = g.fence
			continue
		}
		delete(r.leases, identity)
		err := &lease.HeldError{Identity: identity}
		if now != nil {
			err.Holder, err.Fence = now.replica.name, now.fence
		}
		l.end(err)
	}
}
