// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const withProfile = "2026-11-02-preview"

func TestTheHubsConnectionProfileIsToldToTheVersionThatKnowsIt(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		for _, profile := range []string{hubtest.ProfileClassic, hubtest.ProfileMQTTV5, "quantum"} {
			w.a.SetConnectionProfile(profile)
			for _, v := range []string{version, "2025-07-01-preview", "2026-11-01"} {
				d := w.deviceOf(transport, "dev", v, byKey("dev", key1))
				r := w.finish(d, "")
				d.close()
				state := members(w.t, r.decode(w.t).RegistrationState)
				assert.Equal(w.t, "assigned", state["status"])
				assert.NotContains(w.t, state, "connectionProfile", v)
			}
			d := w.deviceOf(transport, "dev", withProfile, byKey("dev", key1))
			accepted := d.register("")
			require.Equal(w.t, 202, accepted.status)
			running := d.poll(accepted.decode(w.t).OperationID, "")
			assert.NotContains(w.t, string(running.raw), "connectionProfile", "not while assigning")
			time.Sleep(10 * time.Second) // five polls in that time are the limit
			r := d.poll(accepted.decode(w.t).OperationID, "")
			d.close()
			state := members(w.t, r.decode(w.t).RegistrationState)
			assert.Equal(w.t, profile, state["connectionProfile"], "as the hub has it")
		}
	})
}

func TestAStatusLookupTellsTheConnectionProfileToo(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.a.SetConnectionProfile(hubtest.ProfileMQTTV5)
		w.enroll("dev")
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)) // under whatever version
		lookup := func(w *world, version string) map[string]any {
			d := w.https("dev", version, byKey("dev", key1))
			defer d.close()
			r := d.lookup(`{"registrationId":"dev"}`)
			require.Equal(w.t, 200, r.status)
			return members(w.t, r.raw)
		}
		assert.Equal(t, "mqttV5", lookup(w, withProfile)["connectionProfile"])
		assert.NotContains(t, lookup(w, version), "connectionProfile")

		again, _ := w.restart()
		assert.Equal(t, "mqttV5", lookup(again, withProfile)["connectionProfile"])

		require.NoError(t, again.dps.SetEnabled("dev", false))
		d := again.https("dev", withProfile, byKey("dev", key1))
		defer d.close()
		r := again.finish(d, "")
		require.Equal(t, "disabled", r.decode(t).Status)
		assert.NotContains(t, string(r.raw), "connectionProfile", "that is an assignment's alone")
	})
}
