// SPDX-License-Identifier: Apache-2.0

package lease

import (
	"slices"
	"time"
)

// A KeeperStatus is what a Keeper does at a moment.
type KeeperStatus struct {
	// Name is this replica's.
	Name string
	// Members are the replicas that lived when that was last known.
	Members []string
	// Away says why it cannot be told at present which replicas live, such as that NATS cannot be
	// reached. Devices that are connected stay so meanwhile; those whose lease is not confirmed
	// any more are not connected anew. Nil: it can be told.
	Away error
	// Since is when Away came to be what it is, or was nil again. Zero before Run.
	Since time.Time
	// Identities were added and not removed.
	Identities int
	// Placed are those of them that are to run here, by Members.
	Placed int
	// Held are those that run here by a lease.
	Held int
	// Unconfirmed are those of Held that may not be connected anew at present.
	Unconfirmed int
	// Started, Moved and Lost count starts, leases that were handed over to where the identity is
	// placed now, and leases that another has taken over.
	Started, Moved, Lost uint64
	// Err is the last failure of an acquisition, a Start or a release; nil: there was none.
	Err error
}

// Status tells what the Keeper does.
func (k *Keeper) Status() KeeperStatus {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := KeeperStatus{
		Members: slices.Clone(k.members), Away: k.away, Since: k.since,
		Started: k.counted.started, Moved: k.counted.moved, Lost: k.counted.lost, Err: k.lastErr,
	}
	if k.Leases != nil {
		s.Name = k.Leases.Name()
	}
	for _, t := range k.tenants {
		if t.removed {
			continue
		}
		s.Identities++
		if Place(t.identity, k.members) == s.Name && s.Name != "" {
			s.Placed++
		}
		if t.lease != nil {
			s.Held++
			if t.lease.Held() != nil {
				s.Unconfirmed++
			}
		}
	}
	return s
}
