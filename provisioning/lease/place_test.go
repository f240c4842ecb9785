// SPDX-License-Identifier: Apache-2.0

package lease_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

const placed = 10_000

func sensor(i int) string { return fmt.Sprintf("sensor-%05d", i) }

func TestPlacementIsEven(t *testing.T) {
	for _, members := range [][]string{
		{"a", "b"}, {"gateway-0", "gateway-1", "gateway-2"}, {"1", "2", "3", "4", "5", "6", "7"},
	} {
		count := map[string]int{}
		for i := range placed {
			count[lease.Place(sensor(i), members)]++
		}
		share := placed / len(members)
		for _, m := range members {
			assert.InDelta(t, share, count[m], float64(share)/10, "%s of %q", m, members)
		}
	}
}

func TestADeathMovesOnlyWhatTheDeadHad(t *testing.T) {
	before := []string{"a", "b", "c"}
	after := []string{"a", "c"}
	heirs := map[string]int{}
	for i := range placed {
		was, is := lease.Place(sensor(i), before), lease.Place(sensor(i), after)
		if was == "b" {
			heirs[is]++
		} else {
			assert.Equal(t, was, is, sensor(i))
		}
	}
	assert.InDelta(t, heirs["a"], heirs["c"], placed/20, "both take about as many")
}

func TestPlacementDoesNotDependOnTheOrderOfMembers(t *testing.T) {
	members := []string{"a", "b", "c", "d"}
	reversed := slices.Clone(members)
	slices.Reverse(reversed)
	for i := range 100 {
		assert.Equal(t, lease.Place(sensor(i), members), lease.Place(sensor(i), reversed))
	}
	assert.Empty(t, lease.Place("sensor", nil))
	assert.Equal(t, "", lease.Place("", []string{""}))
}

// Replicas of two versions share the identities during an update.
func TestPlacementIsThatOfEarlierVersions(t *testing.T) {
	members := []string{"a", "b", "c"}
	var got string
	for i := range 24 {
		got += lease.Place(sensor(i), members)
	}
	assert.Equal(t, "ccabcbacabaacabaacaccaab", got)
}
