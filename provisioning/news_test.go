// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWhatTheLogHasSaidIsRememberedWithinABound(t *testing.T) {
	t.Parallel()
	c := &core{}
	assert.True(t, c.isNews("0"))
	assert.False(t, c.isNews("0"))
	for i := range 1000 { // a service may find ever new words for why
		c.isNews(strconv.Itoa(i))
		assert.LessOrEqual(t, len(c.news), 16)
	}
	assert.True(t, c.isNews("0"), "at worst it is said again")
}
