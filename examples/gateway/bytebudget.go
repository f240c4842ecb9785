// SPDX-License-Identifier: Apache-2.0

package main

import "context"

// byteBudget bounds how many bytes are worked on at once: few large requests, or many small ones.
type byteBudget struct{ units chan struct{} }

// budgetUnit is what a request costs at least: what it takes besides its bytes.
const budgetUnit = 32 << 10

func newByteBudget(size int) *byteBudget {
	return &byteBudget{make(chan struct{}, max(size/budgetUnit, 1))}
}

// cost is how many units a request takes; one that is larger than all of them takes all.
func (b *byteBudget) cost(size int) int {
	return min(max((size+budgetUnit-1)/budgetUnit, 1), cap(b.units))
}

// take waits for room; false: ctx has ended before. One goroutine at a time takes, or two could
// each wait for what the other has.
func (b *byteBudget) take(ctx context.Context, size int) bool {
	for taken := range b.cost(size) {
		select {
		case b.units <- struct{}{}:
		case <-ctx.Done():
			for range taken {
				<-b.units
			}
			return false
		}
	}
	return true
}

func (b *byteBudget) release(size int) {
	for range b.cost(size) {
		<-b.units
	}
}
