// SPDX-License-Identifier: Apache-2.0

package hubtest_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestLogsAreFollowedByPosition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := simnet.ForTest(t)
		h := hubtest.NewHub(n, "hub-a.net")
		const key = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="
		require.NoError(t, h.Put(hubtest.Device{ID: "dev", PrimaryKey: key}))
		d := &hubconn.Dialer{DialContext: n.DialContext, TLSConfig: n.TLSConfig()}
		var attempts, messages, operations int
		visit := func() (int, int, int) {
			a, nextA := h.AttemptsFrom(attempts)
			m, nextM := h.MessagesFrom(messages)
			o, nextO := h.OperationsFrom(operations)
			attempts, messages, operations = nextA, nextM, nextO
			return len(a), len(m), len(o)
		}
		life := func() {
			c, err := d.Dial(
				t.Context(), hubconn.Hub{Host: "hub-a.net", DeviceID: "dev"},
				dps.SymmetricKey{ID: "dev", Key: key},
			)
			require.NoError(t, err)
			require.NoError(t, c.Send(t.Context(), hubconn.Message{Body: []byte("x")}))
			_, err = c.Twin(t.Context())
			require.NoError(t, err)
			require.NoError(t, c.Close())
		}
		for range 2 { // what is seen is not seen again
			life()
			a, m, o := visit()
			assert.Equal(t, [3]int{1, 1, 1}, [3]int{a, m, o})
		}
		a, m, o := visit()
		assert.Zero(t, a+m+o)
		h.ResetLog()
		life()
		a, m, o = visit()
		assert.Equal(t, [3]int{1, 1, 1}, [3]int{a, m, o}, "a reset takes nothing of what comes")
	})
}
