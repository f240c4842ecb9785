// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWhoWaitsForARunThatGivesUpGoesOn(t *testing.T) {
	l := newLease()
	l.enqueue(1)
	wait := l.tryAcquire(holderHelper)
	require.NotNil(t, wait)
	l.enqueue(-1)
	select {
	case <-wait:
	default:
		t.Fatal("it would wait for ever")
	}
	require.Nil(t, l.tryAcquire(holderHelper))
	l.release()
}
