// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math/bits"
	"unsafe"

	"github.com/rehome-iot/rehome/internal/rules"
)

// Most of a state is zero, and a million of them would fill the memory. Each is kept as the words
// in which it differs from a template, behind a map of which they are.
const (
	stateWords = int(unsafe.Sizeof(rules.State{}) / 8)
	mapWords   = stateWords/64 + 1 // there is a bit to spare: apart
	slotWords  = 64                // of each device: enough for one that knows two hubs
	apart      = 1 << 63           // in the last word of the map: the words are in extra
)

// states holds one state for each device. The collector of garbage does not see the pointers in it.
// Strings have to be constants, or held elsewhere for as long as the states are; times have to be
// UTC, which has no location; Record has to be nil; and there is no other pointer. States of
// different devices may be loaded and saved at the same time.
type states struct {
	template rules.State
	slots    []uint64
	extra    [][]uint64 // of the devices that need more than their slot
}

func newStates(devices int, template rules.State) *states {
	return &states{
		template: template, slots: make([]uint64, devices*slotWords),
		extra: make([][]uint64, devices),
	}
}

func words(s *rules.State) *[stateWords]uint64 {
	return (*[stateWords]uint64)(unsafe.Pointer(s))
}

// load unpacks a device's state.
func (p *states) load(device uint32, into *rules.State) {
	*into = p.template
	slot := p.slots[int(device)*slotWords : (int(device)+1)*slotWords]
	to, next := words(into), slot[mapWords:]
	if slot[mapWords-1]&apart != 0 {
		next = p.extra[device]
	}
	n := 0
	for i := range mapWords {
		m := slot[i]
		if i == mapWords-1 {
			m &^= apart
		}
		for ; m != 0; m &= m - 1 {
			to[i*64+bits.TrailingZeros64(m)] = next[n]
			n++
		}
	}
}

// save packs a device's state.
func (p *states) save(device uint32, s *rules.State) {
	slot := p.slots[int(device)*slotWords : (int(device)+1)*slotWords]
	from, template := words(s), words(&p.template)
	next, n := slot[mapWords:], 0
	wasApart := slot[mapWords-1]&apart != 0
	for i := range mapWords {
		var m uint64
		for j := i * 64; j < min((i+1)*64, stateWords); j++ {
			if j%block == 0 && alike(from, template, j) {
				j += block - 1
				continue
			}
			if from[j] == template[j] {
				continue
			}
			if n == len(next) {
				p.saveApart(device, from)
				return
			}
			m |= 1 << (j % 64)
			next[n] = from[j]
			n++
		}
		slot[i] = m
	}
	if wasApart { // else that is far away in memory, for nothing
		p.extra[device] = nil
	}
}

// block is how many words are compared at once: most are alike.
const block = 8

// alike says whether the words of a whole block from i on are the same.
func alike(a, b *[stateWords]uint64, i int) bool {
	if i+block > stateWords {
		return false
	}
	x, y := (*[block]uint64)(a[i:]), (*[block]uint64)(b[i:])
	return (x[0]^y[0])|(x[1]^y[1])|(x[2]^y[2])|(x[3]^y[3])|
		(x[4]^y[4])|(x[5]^y[5])|(x[6]^y[6])|(x[7]^y[7]) == 0
}

// saveApart packs a state that does not fit its slot.
func (p *states) saveApart(device uint32, from *[stateWords]uint64) {
	slot := p.slots[int(device)*slotWords : (int(device)+1)*slotWords]
	template := words(&p.template)
	extra := p.extra[device][:0]
	for i := range mapWords {
		slot[i] = 0
		for j := i * 64; j < min((i+1)*64, stateWords); j++ {
			if from[j] != template[j] {
				slot[i] |= 1 << (j % 64)
				extra = append(extra, from[j])
			}
		}
	}
	slot[mapWords-1] |= apart
	p.extra[device] = extra
}
