// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDrawsAreMovedToTheEnds(t *testing.T) {
	got, err := withDrawsAtTheEnds("x\n" + float64Of + "\treturn 0.5\n}\n")
	require.NoError(t, err)
	assert.Equal(t, "x\n"+float64Of+atTheEnds+"\treturn 0.5\n}\n", got)
	_, err = withDrawsAtTheEnds("func Float64() float64 {")
	assert.ErrorContains(t, err, "mend internal/ci/draws.go")
}
