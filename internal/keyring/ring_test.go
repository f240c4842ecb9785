// SPDX-License-Identifier: Apache-2.0

package keyring

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func pending(n int) *Pending {
	return &Pending{Key: fmt.Appendf(nil, "key %d", n), Request: fmt.Sprint("request ", n)}
}

func chain(n int) [][]byte { return [][]byte{fmt.Appendf(nil, "leaf %d", n), []byte("ca")} }

func leaf(n int) []byte { return chain(n)[0] }

// leaves are those of a ring, in its order.
func leaves(r *Ring) (all []string) {
	for _, p := range r.Pairs {
		s := strings.TrimPrefix(string(p.Chain[0]), "leaf ")
		if p.Accepted {
			s += "!"
		}
		all = append(all, s)
	}
	return all
}

func TestARingReadsWhatItWrote(t *testing.T) {
	for _, r := range []*Ring{
		{},
		{Unissued: time.Unix(1_700_000_000, 0).UTC()},
		{Pending: pending(1)},
		{Pairs: []Pair{{Key: []byte("k"), Chain: chain(1), Accepted: true, Reported: true}}},
	} {
		data, err := r.Marshal()
		require.NoError(t, err)
		got, err := Parse(data)
		require.NoError(t, err)
		assert.Equal(t, r, got)
	}
}

func TestWhatIsNoRingIsRefused(t *testing.T) {
	for data, want := range map[string]error{
		"":                         ErrDamaged,
		"{}":                       ErrDamaged,
		label:                      ErrDamaged,
		label + `{"v":0}`:          ErrDamaged,
		label + `{"v":1,"pairs":1`: ErrDamaged,
		label + `{"v":2}`:          ErrNewer,
		label + `{"v":1,"pairs":[{"key":"","chain":["YQ=="]}]}`:                        ErrDamaged,
		label + `{"v":1,"pairs":[{"key":"YQ==","chain":[]}]}`:                          ErrDamaged,
		label + `{"v":1,"pairs":[{"key":"YQ==","chain":[""]}]}`:                        ErrDamaged,
		label + `{"v":1,"pending":{"key":""}}`:                                         ErrDamaged,
		label + `{"v":1,"pairs":[` + strings.Repeat(pairJSON+",", 3) + pairJSON + `]}`: ErrDamaged,
	} {
		_, err := Parse([]byte(data))
		assert.ErrorIs(t, err, want, data)
	}
}

const pairJSON = `{"key":"YQ==","chain":["YQ=="]}`

func TestWhatAHubHasAcceptedStaysUntilItAcceptsAnother(t *testing.T) {
	r := &Ring{Pending: pending(1)}
	assert.Empty(t, r.Add(chain(1)))
	_, changed := r.Accept(leaf(1))
	assert.True(t, changed)
	_, changed = r.Accept(leaf(1))
	assert.False(t, changed, "nothing to write")
	var gone []string
	for n := 2; n <= 6; n++ { // none of them is ever accepted
		r.Pending = pending(n)
		for _, key := range r.Add(chain(n)) {
			gone = append(gone, string(key))
		}
		assert.Contains(t, leaves(r), "1!")
		assert.Equal(t, fmt.Sprint(n), leaves(r)[0])
		assert.LessOrEqual(t, len(r.Pairs), maxPairs)
		data, err := r.Marshal()
		require.NoError(t, err)
		_, err = Parse(data)
		require.NoError(t, err)
	}
	assert.Equal(t, []string{"6", "5", "1!"}, leaves(r))
	assert.Equal(t, []string{"key 2", "key 3", "key 4"}, gone)

	unused, changed := r.Accept(leaf(6))
	assert.True(t, changed)
	assert.Equal(t, [][]byte{[]byte("key 5"), []byte("key 1")}, unused)
	assert.Equal(t, []string{"6!"}, leaves(r))
}

func TestAnOlderPairThatIsAcceptedLeavesTheNewerOneAlone(t *testing.T) {
	r := &Ring{Pending: pending(1)}
	r.Add(chain(1))
	r.Pending = pending(2)
	r.Add(chain(2))
	unused, changed := r.Accept(leaf(1))
	assert.True(t, changed)
	assert.Empty(t, unused)
	assert.Equal(t, []string{"2", "1!"}, leaves(r))
}

func TestAKeyThatServesTwiceIsNotRemoved(t *testing.T) {
	r := &Ring{Pending: pending(1)}
	r.Add(chain(1))
	r.Accept(leaf(1))
	r.Pending = pending(1)
	r.Add(chain(2))
	unused, _ := r.Accept(leaf(2))
	assert.Empty(t, unused)
}

func TestACloneSharesNothingThatChanges(t *testing.T) {
	r := &Ring{Pending: pending(1)}
	r.Add(chain(1))
	r.Pending = pending(2)
	c := r.Clone()
	c.Accept(leaf(1))
	c.Report(leaf(1))
	c.Pending.Request = "another"
	assert.False(t, r.Pairs[0].Accepted || r.Pairs[0].Reported)
	assert.Equal(t, "request 2", r.Pending.Request)
}

// Every sequence of what can happen to a ring, to some depth: what a hub has accepted last is there
// until another is, nothing that is kept has lost its key, and no key stays that nothing needs.
func TestNoSequenceLosesTheAcceptedPairOrAKey(t *testing.T) {
	type world struct {
		ring     *Ring
		keys     []string // in the key store
		next     int
		accepted string
	}
	remove := func(w *world, keys [][]byte) {
		for _, key := range keys {
			w.keys = slices.DeleteFunc(w.keys, func(k string) bool { return k == string(key) })
		}
	}
	check := func(w world) {
		for _, p := range w.ring.Pairs {
			assert.Contains(t, w.keys, string(p.Key))
		}
		if w.ring.Pending != nil {
			assert.Contains(t, w.keys, string(w.ring.Pending.Key))
		}
		assert.LessOrEqual(t, len(w.keys), maxPairs+1)
		if w.accepted != "" {
			assert.True(t, slices.ContainsFunc(w.ring.Pairs, func(p Pair) bool {
				return p.Accepted && string(p.Chain[0]) == w.accepted
			}))
		}
	}
	visited := 0
	var visit func(w world, depth int)
	visit = func(w world, depth int) {
		visited++
		check(w)
		if depth == 0 || t.Failed() {
			return
		}
		copied := func() world {
			c := w
			c.ring, c.keys = w.ring.Clone(), slices.Clone(w.keys)
			return c
		}
		if w.ring.Pending == nil {
			c := copied()
			c.next++
			c.ring.Pending = pending(c.next)
			c.keys = append(c.keys, string(c.ring.Pending.Key))
			visit(c, depth-1)
		} else {
			c := copied()
			remove(&c, c.ring.Add(chain(c.next)))
			visit(c, depth-1)
		}
		for _, p := range w.ring.Pairs {
			c := copied()
			unused, changed := c.ring.Accept(p.Chain[0])
			if changed {
				c.accepted = string(p.Chain[0])
				remove(&c, unused)
				visit(c, depth-1)
			}
		}
	}
	visit(world{ring: &Ring{}}, 12)
	assert.Greater(t, visited, 500)
}

func FuzzParse(f *testing.F) {
	r := Ring{Pairs: []Pair{{Key: []byte("k"), Chain: chain(1)}}, Pending: pending(2)}
	data, _ := r.Marshal()
	f.Add(data)
	f.Add([]byte(label + `{"v":2}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse(data)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		require.NoError(t, err)
		_, err = Parse(again)
		require.NoError(t, err)
	})
}
