// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// allocations are the ways in which an operator sends a device to a hub: by the members of its
// enrollment, or by what else decides about it.
var allocations = map[string]func(w *world, hook *webhook, hub string) document{
	"hashed": func(_ *world, _ *webhook, hub string) document {
		return document{"allocationPolicy": "hashed", "iotHubs": []string{hub}}
	},
	"geoLatency": func(w *world, _ *webhook, hub string) document {
		for _, h := range []string{hubA, hubB} {
			w.dps.SetLatency(
				"dev", h,
				map[bool]time.Duration{true: time.Millisecond, false: time.Second}[h == hub],
			)
		}
		return document{"allocationPolicy": "geoLatency"}
	},
	"static": func(_ *world, _ *webhook, hub string) document {
		return document{"allocationPolicy": "static", "iotHubHostName": hub}
	},
	"custom": func(_ *world, hook *webhook, hub string) document {
		hook.says(func(rw http.ResponseWriter, _ *http.Request) {
			// As a real one does that is told the hub the device must stay at.
			if asked := hook.last()["linkedHubs"].([]any); len(asked) == 1 {
				_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": asked[0]})
				return
			}
			_ = json.NewEncoder(rw).Encode(document{"iotHubHostName": hub})
		})
		return document{"allocationPolicy": "custom", "customAllocationDefinition": document{
			"webhookUrl": "https://" + webhookHost + "/", "apiVersion": "2021-10-01",
		}}
	},
}

var reprovisioning = map[string]document{
	"migrate": {"reprovisionPolicy": document{"updateHubAssignment": true, "migrateDeviceData": true}},
	"reset":   {"reprovisionPolicy": document{"updateHubAssignment": true, "migrateDeviceData": false}},
	"never":   {"reprovisionPolicy": document{"updateHubAssignment": false, "migrateDeviceData": true}},
	"none":    {},
}

// Every policy, every allocation, to the same hub and to the other: what the device is told, and
// what becomes of its data.
func TestReprovisioning(t *testing.T) {
	for policyName, policy := range reprovisioning {
		for allocation, send := range allocations {
			for _, target := range []string{hubA, hubB} {
				for _, version := range []string{"2018-04-01", "2019-03-31", "2021-06-01"} {
					name := policyName + "/" + allocation + "/" +
						strings.TrimSuffix(target, ".azure-devices.net") + "/" + version
					t.Run(name, func(t *testing.T) {
						inBubble(t, dpstest.Config{}, func(w *world) {
							reprovision(w, policyName, policy, version, target, send)
						})
					})
				}
			}
		}
	}
}

func reprovision(
	w *world, policyName string, policy document, version, target string,
	send func(*world, *webhook, string) document,
) {
	t := w.t
	w.dps.Link(w.b)
	hook, o := w.webhook(), w.service()
	hubs := map[string]*hubtest.Hub{hubA: w.a, hubB: w.b}
	initial := document{
		"capabilities": document{"iotEdge": true},
		"initialTwin": document{"tags": document{"site": "plant"}, "properties": document{
			"desired": document{"interval": 60},
		}},
	}
	c := byKey("dev", key1)

	// First.
	o.must("PUT", "/enrollments/dev", symmetric("dev", initial, policy, send(w, hook, hubA)))
	state := w.assigned(dpstest.HTTPS, "dev", version, c)
	require.Equal(t, "assigned", state.Status, "%+v", state)
	require.Equal(t, hubA, state.AssignedHub)
	require.Equal(t, "initialAssignment", state.Substatus)
	device, _ := w.a.Get("dev")
	assert.True(t, device.IoTEdge)
	assert.Equal(t, key1, device.PrimaryKey)
	twin, _ := w.a.Twin("dev")
	assert.Equal(t, document{"site": "plant"}, twin.Tags)
	assert.Equal(t, document{"interval": 60.0}, twin.Desired)
	assert.Empty(t, twin.Reported)

	// A life at the hub.
	twin.Tags["site"], twin.Desired["interval"] = "yard", 5
	twin.Reported, twin.ReportedVersion, twin.DesiredVersion = document{"temperature": 21.5}, 2, 4
	require.NoError(t, w.a.SetTwin("dev", twin))
	lived, _ := w.a.Twin("dev")
	device.IoTEdge = false
	require.NoError(t, w.a.Put(device))

	// Again, after the operator has changed the allocation.
	o.must(
		"PUT", "/enrollments/dev", symmetric("dev", initial, policy, send(w, hook, target)),
		"If-Match", "*",
	)
	state = w.assigned(dpstest.HTTPS, "dev", version, c)
	stays := policyName == "never" || policyName == "none" && version <= "2018-04-01"
	where, moved := target, target != hubA
	if stays {
		where, moved = hubA, false
	}
	again := "reprovisionedToInitialAssignment"
	if version < "2019-04-15" {
		again = "initialAssignment"
	}
	want := map[bool]string{true: "deviceDataMigrated", false: again}[moved]
	if policyName == "reset" {
		want = "deviceDataReset"
	}
	assert.Equal(t, "assigned", state.Status)
	assert.Equal(t, where, state.AssignedHub)
	assert.Equal(t, want, state.Substatus)
	record, _ := w.dps.Registration("dev")
	assert.Equal(t, where, record.AssignedHub)

	for host, h := range hubs {
		assert.Equal(t, host == where, has(h, "dev"), "%s", host)
	}
	twin, _ = hubs[where].Twin("dev")
	device, _ = hubs[where].Get("dev")
	if policyName == "reset" {
		assert.Equal(t, document{"site": "plant"}, twin.Tags)
		assert.Equal(t, document{"interval": 60.0}, twin.Desired)
		assert.Empty(t, twin.Reported)
		assert.EqualValues(t, 1, twin.ReportedVersion)
		assert.EqualValues(t, 1, twin.DesiredVersion)
		assert.True(t, device.IoTEdge)
	} else {
		lived.ETag = twin.ETag
		assert.Equal(t, lived, twin, "whatever it lived through is there")
		assert.False(t, device.IoTEdge)
	}
}

func TestInitialTwinOfTheWebhook(t *testing.T) {
	answer := func(hub, site string) document {
		return document{
			"iotHubHostName": hub, "initialTwin": document{"tags": document{"site": site}},
		}
	}
	for name, c := range map[string]struct {
		override bool
		policy   *dpstest.ReprovisionPolicy
		want     string
	}{
		"migration goes before it": {false, policy(true, true), "lived"},
		"unless it overrides":      {true, policy(true, true), "second"},
		"a reset starts with it":   {false, policy(true, false), "second"},
		"never":                    {true, policy(false, true), "lived"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, dpstest.Config{InitialTwinOverrides: c.override}, func(w *world) {
				w.dps.Link(w.b)
				hook := w.webhook()
				w.enroll("dev", custom, func(e *dpstest.IndividualEnrollment) {
					e.ReprovisionPolicy = c.policy
					e.InitialTwin = &dpstest.InitialTwin{Tags: document{"site": "enrollment"}}
				})
				hook.says(answer(hubA, "first"))
				w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
				twin, _ := w.a.Twin("dev")
				assert.Equal(
					t, document{"site": "first"}, twin.Tags, "in place of the enrollment's",
				)
				require.NoError(t, w.a.PatchTags("dev", document{"site": "lived"}))
				hub := hubB
				if !c.policy.UpdateHubAssignment {
					hub = hubA
				}
				hook.says(answer(hub, "second"))
				assert.Equal(
					t, hub,
					w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).AssignedHub,
				)
				for _, h := range []*hubtest.Hub{w.a, w.b} {
					if twin, ok := h.Twin("dev"); ok {
						assert.Equal(t, document{"site": c.want}, twin.Tags)
					}
				}
			})
		})
	}
}

func TestInitialTwinThatTheHubRefusesFailsTheRegistration(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.InitialTwin = &dpstest.InitialTwin{Tags: document{"site": strings.Repeat("x", 9000)}}
		})
		state := w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.Equal(t, "failed", state.Status)
		assert.Equal(t, 400209, state.ErrorCode)
		assert.False(t, has(w.a, "dev"))
	})
}

func TestDataIsNotTakenFromAHubThatIsUnlinked(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.InitialTwin = &dpstest.InitialTwin{Tags: document{"site": "enrollment"}}
		})
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		require.NoError(t, w.a.PatchTags("dev", document{"site": "lived"}))
		w.dps.Unlink(hubA)
		w.dps.Link(w.b)
		assert.Equal(
			t, hubB, w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).AssignedHub,
		)
		twin, _ := w.b.Twin("dev")
		assert.Equal(t, document{"site": "enrollment"}, twin.Tags)
		assert.True(t, has(w.a, "dev"), "nor is its identity there removed")
	})
}

func TestLatencyTable(t *testing.T) {
	ms := time.Millisecond
	cfg := dpstest.Config{
		AllocationPolicy: dpstest.PolicyGeoLatency, RegistrationsPerMinute: -1,
		Latencies: map[string]map[string]time.Duration{
			"*": {hubA: 10 * ms, hubB: 20 * ms}, "Far": {"HUB-A.azure-devices.net": 30 * ms},
		},
	}
	inBubble(t, cfg, func(w *world) {
		w.dps.Link(w.b)
		where := func(id string) string {
			w.enroll(id)
			return w.assigned(dpstest.HTTPS, id, version, byKey(id, key1)).AssignedHub
		}
		assert.Equal(t, hubA, where("near"))
		assert.Equal(t, hubB, where("far"), "its own value goes before everybody's")
		w.dps.SetLatency("*", hubB, ms)
		assert.Equal(t, hubB, where("near"), "a change counts at the next registration")
		w.dps.SetLatency("*", hubB, -1)
		assert.Equal(t, hubA, where("near"), "a hub of unknown distance is far")
		assert.Equal(t, hubA, where("far"))

		// Equally near hubs share their devices.
		w.dps.SetLatency("*", hubB, 10*ms)
		count := map[string]int{}
		for i := range 40 {
			count[where("dev-"+strings.Repeat("x", i))]++
		}
		assert.Greater(t, count[hubA], 5)
		assert.Greater(t, count[hubB], 5)
	})
}
