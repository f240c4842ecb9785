// SPDX-License-Identifier: Apache-2.0

package uuid

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAUUIDIsRandomAndOfVersionFour(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := New()
		assert.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
		assert.False(t, seen[id])
		seen[id] = true
	}
}
