// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"math/rand/v2"
	"sync"
)

// defaultTarget is what the room is kept at until somebody asks for another temperature, in °C.
const defaultTarget = 21

// room simulates a sensor in a room that is heated and cooled: its temperature wanders, and is
// drawn to the target.
type room struct {
	mu              sync.Mutex
	celsius, target float64
}

func newRoom() *room { return &room{celsius: defaultTarget, target: defaultTarget} }

// read returns the temperature. It moves with each reading: a simulated room needs no clock.
func (r *room) read() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.celsius += (r.target-r.celsius)/10 + rand.NormFloat64()/5
	return math.Round(r.celsius*100) / 100
}

func (r *room) setTarget(celsius float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = celsius
}

func (r *room) currentTarget() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.target
}
