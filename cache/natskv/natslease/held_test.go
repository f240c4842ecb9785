// SPDX-License-Identifier: Apache-2.0

package natslease

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/provisioning/lease"
)

// Between the beginning of a new session and the write that takes a lease anew, another may have
// taken it.
func TestALeaseOfAnEarlierSessionIsNotHeldUntilItIsTakenAnew(t *testing.T) {
	r := &Replica{
		config: Config{Duration: time.Hour}, session: "new", confirmed: time.Now(),
	}
	ctx, end := context.WithCancelCause(t.Context())
	l := &held{replica: r, session: "old", ctx: ctx, end: end}
	assert.ErrorIs(t, l.Held(), lease.ErrUnconfirmed)
	l.session = "new"
	assert.NoError(t, l.Held())
	l.doubt = true
	assert.ErrorIs(t, l.Held(), lease.ErrUnconfirmed, "its key holds something else")
	l.doubt = false
	r.confirmed = time.Now().Add(-time.Hour)
	assert.ErrorIs(t, l.Held(), lease.ErrUnconfirmed)
	end(lease.ErrReleased)
	assert.ErrorIs(t, l.Held(), lease.ErrReleased)
}
