// SPDX-License-Identifier: Apache-2.0

package jitter_test

import (
	"testing"
	"testing/cryptotest"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/internal/jitter"
)

func TestBoardsWithTheSameEntropyDrawDifferently(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 1)
	one := jitter.New("sensor-1").Uint64()
	cryptotest.SetGlobalRandom(t, 1)
	assert.NotEqual(t, one, jitter.New("sensor-2").Uint64())
}

func TestOneBoardDrawsDifferentlyAtEachStart(t *testing.T) {
	assert.NotEqual(t, jitter.New("sensor-1").Uint64(), jitter.New("sensor-1").Uint64())
}

// A simulation that knows the entropy knows the numbers.
func TestTheNumbersFollowFromTheEntropy(t *testing.T) {
	cryptotest.SetGlobalRandom(t, 2)
	e := jitter.Read()
	cryptotest.SetGlobalRandom(t, 2)
	one, same := jitter.New("sensor-1"), jitter.From(e, "sensor-1")
	for range 100 {
		assert.Equal(t, one.Float64(), same.Float64())
	}
}
