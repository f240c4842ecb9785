// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import "math"

// extremes is a Random whose draws are all at one end of [0, 1) or the other, as a script says.
type extremes struct {
	high []bool
	used int
}

var highestDraw = math.Nextafter(1, 0)

func (r *extremes) Float64() float64 {
	if r.used == len(r.high) {
		r.high = append(r.high, false)
	}
	r.used++
	if r.high[r.used-1] {
		return highestDraw
	}
	return 0
}

// eachDraw runs a decision with every combination of the extremes that it draws.
func eachDraw(decide func(Random)) {
	r := extremes{high: make([]bool, 0, 8)}
	for {
		r.used = 0
		decide(&r)
		n := r.used
		for n > 0 && r.high[n-1] {
			n--
		}
		if n == 0 {
			return
		}
		r.high = r.high[:n]
		r.high[n-1] = true
	}
}

// constant is a Random that always draws the same.
type constant float64

func (c constant) Float64() float64 { return float64(c) }
