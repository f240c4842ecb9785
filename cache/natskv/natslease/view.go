// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/cache/natskv/internal/bucket"
)

// A view is what a replica knows of the bucket: what the watch told, and what it read or wrote
// itself. It may lag behind, which is found when a write is refused. It belongs to whoever holds
// the lock.
type view struct {
	members  map[string]*member // by key
	foreign  map[string]uint64  // keys of members that hold something else, and its revision
	holdings map[string]holding // by key
	dead     map[string]bool    // sessions that have ended: none comes back
}

// mostDead bounds the memory of sessions that have ended; a forgotten one is read up on again.
const mostDead = 4096

func newView() *view {
	return &view{
		members: map[string]*member{}, foreign: map[string]uint64{},
		holdings: map[string]holding{}, dead: map[string]bool{},
	}
}

// A finding is what an entry of the bucket means to the replica.
type finding struct {
	members bool   // others live now, or under another session
	freed   string // an identity whose lease was released
	isFreed bool
	err     error // what is there was not written by a replica
}

// apply takes an entry in. Those that are older than what is known are not news.
func (v *view) apply(key string, e bucket.Entry, now time.Time) (f finding) {
	switch {
	case strings.HasPrefix(key, memberPrefix):
		known, there := v.members[key]
		if there && e.Revision < known.revision || e.Revision < v.foreign[key] {
			return finding{}
		}
		delete(v.foreign, key)
		var m *member
		if !e.Deleted {
			if m, f.err = parseMember(key, e); f.err != nil {
				v.foreign[key] = e.Revision
			}
		}
		if there && (m == nil || m.Session != known.Session) {
			v.bury(known.Session)
			delete(v.members, key)
			f.members = true
		}
		if m != nil {
			m.seen = now
			if there && e.Revision == known.revision {
				m.seen = known.seen
			}
			f.members = f.members || !there
			v.members[key] = m
		}
	case strings.HasPrefix(key, identityPrefix):
		known := v.holdings[key]
		if e.Revision <= known.revision {
			return finding{}
		}
		h := holding{revision: e.Revision}
		if !e.Deleted {
			h, f.err = parseHolding(key, e)
		}
		if h.Identity == "" {
			h.Identity = known.Identity
		}
		if m := v.members[memberKey(h.Replica)]; m != nil && m.Session == h.Session {
			h.Replica, h.Session = m.Replica, m.Session // one copy for all
		}
		v.holdings[key] = h
		if h.Session == "" && known.Session != "" {
			f.freed, f.isFreed = h.Identity, true
		}
	default:
		f.err = errRecord
	}
	return f
}

func (v *view) bury(session string) {
	if len(v.dead) >= mostDead {
		clear(v.dead)
	}
	v.dead[session] = true
}

// lives says whether session is known to live; known is false if that has to be read up on. What is
// not among the members may be one that has only just come.
func (v *view) lives(replica, session string) (alive, known bool) {
	if m := v.members[memberKey(replica)]; m != nil && m.Session == session {
		return true, true
	}
	return false, v.dead[session]
}

// names are the members', sorted, with own among them.
func (v *view) names(own string) []string {
	names := map[string]bool{own: true}
	for _, m := range v.members {
		names[m.Replica] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// amnesty gives everybody the time to be seen again: whoever was away himself cannot tell who died.
func (v *view) amnesty(now time.Time) {
	for _, m := range v.members {
		if least := now.Add(m.grace() - m.deadAfter()); m.seen.Before(least) {
			m.seen = least
		}
	}
}
