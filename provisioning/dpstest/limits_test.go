// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestRegistrationsAndLookupsShareALimit(t *testing.T) {
	inBubble(t, dpstest.Config{RegistrationsPerMinute: 3}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		op := d.register("").decode(t).OperationID
		time.Sleep(10 * time.Second)
		require.Equal(t, 200, d.lookup("").status)
		require.Equal(t, 202, d.register("").status)
		time.Sleep(10500 * time.Millisecond)
		for range 2 {
			r := d.register("")
			assert.Equal(t, 429, r.status)
			assert.Equal(t, "40", r.retryAfter, "when the first one is a minute old")
			b := r.decode(t)
			assert.Equal(t, 429001, b.ErrorCode)
			assert.Equal(t, "Operations are being throttled for this tenant.", b.Message)
			assert.Empty(t, b.OperationID)
			assert.Equal(t, 429, d.lookup("").status)
		}
		assert.Equal(t, 200, d.poll(op, "").status, "polls have their own limit")
		time.Sleep(39 * time.Second)
		assert.Equal(t, 429, d.lookup("").status)
		time.Sleep(500 * time.Millisecond)
		assert.Equal(t, 200, d.lookup("").status)
		assert.Equal(t, 429, d.lookup("").status, "one place, not a fresh minute")
	})
}

func TestTheTenantsLimitIsAThousand(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		defer d.close()
		for range 1000 {
			require.NotEqual(t, 429, d.lookup("").status)
		}
		assert.Equal(t, 429, d.lookup("").status)
	})
}

func TestPollsAreLimitedPerDevice(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		ops, devices := map[string]string{}, map[string]device{}
		for i := range 2 {
			id := "dev-" + strconv.Itoa(i)
			w.enroll(id)
			devices[id] = w.device(transport, id, byKey(id, key1))
			defer devices[id].close()
			ops[id] = devices[id].register("").decode(w.t).OperationID
		}
		for range 5 {
			require.Less(w.t, devices["dev-0"].poll(ops["dev-0"], "").status, 300)
		}
		r := devices["dev-0"].poll(ops["dev-0"], "")
		assert.Equal(w.t, 429, r.status)
		assert.Equal(w.t, "10", r.retryAfter)
		assert.Equal(w.t, 429001, r.decode(w.t).ErrorCode)
		assert.Equal(w.t, 202, devices["dev-1"].poll(ops["dev-1"], "").status)
		assert.Equal(w.t, 202, devices["dev-0"].register("").status)
		time.Sleep(10 * time.Second)
		assert.Equal(w.t, 200, devices["dev-0"].poll(ops["dev-0"], "").status)
	})
}

func TestRetryAfterOfAThrottledRequest(t *testing.T) {
	for wait, want := range map[time.Duration]string{-1: "", 90 * time.Second: "90"} {
		onEach(t, dpstest.Config{RegistrationsPerMinute: 1, ThrottleRetryAfter: wait},
			func(w *world, transport string) {
				w.enroll("dev")
				d := w.device(transport, "dev", byKey("dev", key1))
				defer d.close()
				d.register("")
				r := d.register("")
				assert.Equal(w.t, 429, r.status)
				assert.Equal(w.t, want, r.retryAfter)
			})
	}
}
