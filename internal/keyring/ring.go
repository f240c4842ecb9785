// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"
)

const (
	version = 1

	// label tells a ring from everything else that the same key may seal.
	label = "rehome ring\x00"

	// maxPairs is how many pairs are kept: one that is new, the one accepted before, and one more
	// for a new one that no hub has accepted when the next is issued.
	maxPairs = 3

	// maxChain is how many certificates a chain has at most, as the service's do.
	maxChain = 6
)

// ErrDamaged is a ring that cannot be read as a whole.
var ErrDamaged = errors.New("what is stored of issued certificates is damaged")

// ErrNewer is a ring in a form that this version does not know.
var ErrNewer = errors.New("what is stored of issued certificates was written by a newer version")

// A Ring is what one device keeps. The zero value is an empty one.
type Ring struct {
	Pairs   []Pair   // the newest first
	Pending *Pending // nil: nothing is asked for

	// Unissued says that DPS issues no certificates to the device: when it has said so last, to the
	// second. Zero: it has not, or has issued one since.
	Unissued time.Time
}

// A Pair is a key and the chain that was issued for it.
type Pair struct {
	Key      []byte   `json:"key"`               // what whoever made the key finds it by
	Chain    [][]byte `json:"chain"`             // in DER, leaf first
	Accepted bool     `json:"ok"`                // by a hub
	Refused  bool     `json:"refused,omitempty"` // by a hub
	Reported bool     `json:"told,omitempty"`    // to the twin: its validity
}

// Pending is a key that a certificate was asked for, or is about to be.
type Pending struct {
	Key     []byte `json:"key"`
	Request string `json:"request"` // the request ID at the hub

	// Failed is why the last request with the key has brought no certificate, in one line; empty if
	// none has failed.
	Failed string `json:"failed,omitempty"`
}

type stored struct {
	Version  int      `json:"v"`
	Pairs    []Pair   `json:"pairs,omitempty"`
	Pending  *Pending `json:"pending,omitempty"`
	Unissued int64    `json:"unissued,omitempty"` // Unix time
}

// Marshal is the ring as it is sealed.
func (r *Ring) Marshal() ([]byte, error) {
	s := stored{Version: version, Pairs: r.Pairs, Pending: r.Pending}
	if !r.Unissued.IsZero() {
		s.Unissued = r.Unissued.Unix()
	}
	data, err := json.Marshal(s)
	return append([]byte(label), data...), err
}

// Parse reads what Marshal wrote. The error is ErrDamaged or ErrNewer.
func Parse(data []byte) (*Ring, error) {
	data, ok := bytes.CutPrefix(data, []byte(label))
	var s stored
	if !ok || json.Unmarshal(data, &s) != nil || s.Version < version {
		return nil, ErrDamaged
	}
	if s.Version > version {
		return nil, ErrNewer
	}
	r := &Ring{Pairs: s.Pairs, Pending: s.Pending}
	if s.Unissued != 0 {
		r.Unissued = time.Unix(s.Unissued, 0).UTC()
	}
	if !r.sane() {
		return nil, ErrDamaged
	}
	return r, nil
}

func (r *Ring) sane() bool {
	for _, p := range r.Pairs {
		if len(p.Key) == 0 || len(p.Chain) == 0 || len(p.Chain) > maxChain ||
			slices.ContainsFunc(p.Chain, func(der []byte) bool { return len(der) == 0 }) {
			return false
		}
	}
	return len(r.Pairs) <= maxPairs && (r.Pending == nil || len(r.Pending.Key) > 0)
}

// Empty says that there is nothing to keep.
func (r *Ring) Empty() bool {
	return len(r.Pairs) == 0 && r.Pending == nil && r.Unissued.IsZero()
}

// Clone is a ring that shares no slice of the ring's own, only the bytes, which nobody changes.
func (r *Ring) Clone() *Ring {
	c := &Ring{Pairs: slices.Clone(r.Pairs), Unissued: r.Unissued}
	if r.Pending != nil {
		p := *r.Pending
		c.Pending = &p
	}
	return c
}

// Add puts what was issued for the pending key in front. It returns the keys that nothing refers to
// any more. What a hub has accepted last stays, and what is newer than that as far as there is
// room.
func (r *Ring) Add(chain [][]byte) (unused [][]byte) {
	if r.Pending == nil {
		return nil
	}
	pairs := append([]Pair{{Key: r.Pending.Key, Chain: chain}}, r.Pairs...)
	r.Pending, r.Unissued = nil, time.Time{}
	accepted := slices.IndexFunc(pairs, func(p Pair) bool { return p.Accepted })
	var kept []Pair
	for i, p := range pairs {
		newest := accepted < 0 || i < accepted
		if i == accepted || newest && len(kept) < maxPairs-1 {
			kept = append(kept, p)
		} else {
			unused = append(unused, p.Key)
		}
	}
	r.Pairs = kept
	return r.Unreferenced(unused)
}

// Accept notes that a hub has accepted the pair of a leaf, and drops the older ones. It returns the
// keys that nothing refers to any more; changed is false where that was known.
func (r *Ring) Accept(leaf []byte) (unused [][]byte, changed bool) {
	i := r.find(leaf)
	if i < 0 || r.Pairs[i].Accepted && i == len(r.Pairs)-1 {
		return nil, false
	}
	for _, p := range r.Pairs[i+1:] {
		unused = append(unused, p.Key)
	}
	r.Pairs = slices.Clone(r.Pairs[:i+1])
	r.Pairs[i].Accepted = true
	return r.Unreferenced(unused), true
}

// Refuse notes that a hub has refused the pair of a leaf. changed is false where that was known,
// and where it has been accepted.
func (r *Ring) Refuse(leaf []byte) (changed bool) {
	i := r.find(leaf)
	if i < 0 || r.Pairs[i].Refused || r.Pairs[i].Accepted {
		return false
	}
	r.Pairs[i].Refused = true
	return true
}

// Report notes that the twin shows how long the pair of a leaf is valid. changed is false where
// that was known.
func (r *Ring) Report(leaf []byte) (changed bool) {
	i := r.find(leaf)
	if i < 0 || r.Pairs[i].Reported {
		return false
	}
	r.Pairs[i].Reported = true
	return true
}

func (r *Ring) find(leaf []byte) int {
	return slices.IndexFunc(r.Pairs, func(p Pair) bool { return bytes.Equal(p.Chain[0], leaf) })
}

// Unreferenced are those of the keys that neither a pair nor the request under way has.
func (r *Ring) Unreferenced(keys [][]byte) (unused [][]byte) {
	for _, key := range keys {
		used := r.Pending != nil && bytes.Equal(r.Pending.Key, key) ||
			slices.ContainsFunc(r.Pairs, func(p Pair) bool { return bytes.Equal(p.Key, key) })
		if !used {
			unused = append(unused, key)
		}
	}
	return unused
}
