// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"strconv"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/sas"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func policy(update, migrate bool) *dpstest.ReprovisionPolicy {
	return &dpstest.ReprovisionPolicy{UpdateHubAssignment: update, MigrateDeviceData: migrate}
}

func has(h *hubtest.Hub, id string) bool {
	_, ok := h.Get(id)
	return ok
}

func TestRegisteringAgainKeepsTheRecord(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		first := w.assigned(transport, "dev", version, byKey("dev", key1))
		time.Sleep(time.Hour)
		second := w.assigned(transport, "dev", version, byKey("dev", key1))
		assert.Equal(w.t, first.CreatedDateTimeUTC, second.CreatedDateTimeUTC)
		assert.NotEqual(w.t, first.LastUpdatedDateTimeUTC, second.LastUpdatedDateTimeUTC)
		assert.NotEqual(w.t, first.ETag, second.ETag)
		assert.Equal(w.t, "reprovisionedToInitialAssignment", second.Substatus)

		assert.True(w.t, w.dps.DeleteRegistration("dev"))
		assert.False(w.t, w.dps.DeleteRegistration("dev"))
		assert.True(w.t, has(w.a, "dev"), "the hub keeps the device")
		third := w.assigned(transport, "dev", version, byKey("dev", key1))
		assert.NotEqual(w.t, first.CreatedDateTimeUTC, third.CreatedDateTimeUTC)
		assert.Equal(
			w.t, "reprovisionedToInitialAssignment", third.Substatus,
			"the hub had it, only DPS was unaware",
		)
	})
}

func TestSubstatusOfARepeatedAssignmentDependsOnTheVersion(t *testing.T) {
	inBubble(t, dpstest.Config{PollsPer10s: -1}, func(w *world) {
		for v, want := range map[string]string{
			"2018-04-01": "initialAssignment", "2018-11-01": "initialAssignment",
			"2019-03-31": "initialAssignment", "2019-04-15": "reprovisionedToInitialAssignment",
			"2021-10-01": "reprovisionedToInitialAssignment",
		} {
			id := "dev-" + v
			w.enroll(id)
			assert.Equal(
				t, "initialAssignment", w.assigned(dpstest.HTTPS, id, v, byKey(id, key1)).Substatus,
			)
			assert.Equal(t, want, w.assigned(dpstest.HTTPS, id, v, byKey(id, key1)).Substatus, v)
		}
	})
}

func TestDeviceDeletedAtTheHubIsCreatedAgain(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.enroll("dev")
		w.assigned(transport, "dev", version, byKey("dev", key1))
		require.True(w.t, w.a.Delete("dev"))
		w.assigned(transport, "dev", version, byKey("dev", key1))
		assert.True(w.t, has(w.a, "dev"))
	})
}

func TestRegisteringAgainRefreshesTheHubsCredentials(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		require.True(t, w.a.Disable("dev"))
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.Attestation = dpstest.Keys(key2, key1)
		})
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		device, _ := w.a.Get("dev")
		assert.Equal(t, key2, device.PrimaryKey)
		assert.True(t, device.Disabled, "whom the hub's operator keeps out stays out")
	})
}

func TestDeviceIDOfTheEnrollment(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		rename := func(id string) func(*dpstest.IndividualEnrollment) {
			return func(e *dpstest.IndividualEnrollment) { e.DeviceID = id }
		}
		w.enroll("dev", rename("Toaster"))
		assert.Equal(
			t, "Toaster", w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).DeviceID,
		)
		w.enroll("dev", rename("Kettle"))
		assert.Equal(
			t, "Toaster", w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).DeviceID,
			"as long as there is a record",
		)
		w.dps.DeleteRegistration("dev")
		assert.Equal(
			t, "Kettle", w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).DeviceID,
		)
		assert.True(t, has(w.a, "Toaster"), "the old device stays")
	})
}

func TestMoveFollowsTheReprovisionPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		policy    *dpstest.ReprovisionPolicy
		version   string
		moves     bool
		substatus string
	}{
		"migrate":                    {policy(true, true), version, true, "deviceDataMigrated"},
		"reset":                      {policy(true, false), version, true, "deviceDataReset"},
		"never":                      {policy(false, true), version, false, "reprovisionedToInitialAssignment"},
		"none":                       {nil, version, true, "deviceDataMigrated"},
		"none, old version":          {nil, "2018-04-01", false, "initialAssignment"},
		"none, older version":        {nil, "2017-11-15", false, "initialAssignment"},
		"none, next version":         {nil, "2018-11-01", true, "deviceDataMigrated"},
		"migrate, old version":       {policy(true, true), "2018-04-01", true, "deviceDataMigrated"},
		"never, previous substatus":  {policy(false, false), "2019-03-31", false, "initialAssignment"},
		"reset under an old version": {policy(true, false), "2018-04-01", true, "deviceDataReset"},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, dpstest.Config{}, func(w *world) {
				w.dps.Link(w.b)
				w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
					e.ReprovisionPolicy, e.AllocationPolicy, e.IoTHubHostName = c.policy,
						dpstest.PolicyStatic, hubA
				})
				first := w.assigned(dpstest.HTTPS, "dev", c.version, byKey("dev", key1))
				require.Equal(w.t, hubA, first.AssignedHub)
				require.NoError(w.t, w.dps.Move("dev", hubB))
				assert.True(w.t, has(w.a, "dev"), "nothing happens before the device registers")
				record, _ := w.dps.Registration("dev")
				assert.Equal(w.t, hubA, record.AssignedHub)

				second := w.assigned(dpstest.HTTPS, "dev", c.version, byKey("dev", key1))
				assert.Equal(w.t, c.substatus, second.Substatus)
				if c.moves {
					assert.Equal(w.t, hubB, second.AssignedHub)
					assert.True(w.t, has(w.b, "dev"))
					assert.False(w.t, has(w.a, "dev"), "removed from the old hub")
				} else {
					assert.Equal(w.t, hubA, second.AssignedHub)
					assert.True(w.t, has(w.a, "dev"))
					assert.False(w.t, has(w.b, "dev"))
				}
			})
		})
	}
}

func TestAllocationChangeMovesTheDevice(t *testing.T) {
	onEach(t, dpstest.Config{}, func(w *world, transport string) {
		w.dps.Link(w.b)
		static := func(hub string) func(*dpstest.IndividualEnrollment) {
			return func(e *dpstest.IndividualEnrollment) {
				e.AllocationPolicy, e.IoTHubs = dpstest.PolicyStatic, []string{hub}
			}
		}
		w.enroll("dev", static(hubB))
		assert.Equal(
			w.t, hubB, w.assigned(transport, "dev", version, byKey("dev", key1)).AssignedHub,
		)
		w.enroll("dev", static(hubA))
		assert.Equal(
			w.t, hubA, w.assigned(transport, "dev", version, byKey("dev", key1)).AssignedHub,
		)
		assert.False(w.t, has(w.b, "dev"))
	})
}

func TestMoveNow(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "g", Attestation: dpstest.Keys(key1, key2),
			AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{hubA},
			ReprovisionPolicy: policy(false, false),
		}))
		assert.ErrorContains(t, w.dps.MoveNow("dev", hubB), "not registered")
		require.NoError(t, w.dps.Move("dev", ""))
		c := byKey("dev", derived(key1, "dev"))
		first := w.assigned(dpstest.HTTPS, "dev", version, c)
		require.Equal(t, hubA, first.AssignedHub)
		assert.ErrorContains(t, w.dps.Move("dev", "elsewhere.azure-devices.net"), "not linked")
		assert.ErrorContains(t, w.dps.MoveNow("dev", "elsewhere.azure-devices.net"), "not linked")

		require.NoError(t, w.dps.MoveNow("dev", hubB))
		assert.False(t, has(w.a, "dev"))
		device, ok := w.b.Get("dev")
		require.True(t, ok)
		assert.Equal(t, derived(key1, "dev"), device.PrimaryKey)
		record, _ := w.dps.Registration("dev")
		assert.Equal(t, hubB, record.AssignedHub)
		assert.NotEqual(t, first.ETag, record.ETag)

		d := w.https("dev", version, c)
		defer d.close()
		assert.Equal(t, hubB, d.lookup("").decode(t).AssignedHub)
		assert.Equal(t, hubB, w.assigned(dpstest.HTTPS, "dev", version, c).AssignedHub)
		require.NoError(t, w.dps.MoveNow("dev", hubB), "where it is")
	})
}

func TestResetHappensOnTheSameHubToo(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.ReprovisionPolicy = policy(true, false)
		})
		assert.Equal(
			t, "initialAssignment",
			w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).Substatus,
		)
		assert.Equal(
			t, "deviceDataReset",
			w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).Substatus,
		)
	})
}

func TestMovingCutsTheLinkToTheOldHub(t *testing.T) {
	for name, move := range map[string]func(w *world){
		"at once": func(w *world) { require.NoError(w.t, w.dps.MoveNow("dev", hubB)) },
		"when it registers": func(w *world) {
			require.NoError(w.t, w.dps.Move("dev", hubB))
			require.True(w.t, w.a.Connected("dev"))
			w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, dpstest.Config{}, func(w *world) {
				w.enroll("dev")
				w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
				w.dps.Link(w.b)
				connect := func(hub string) *mqttDevice {
					raw, _ := base64.StdEncoding.DecodeString(key1)
					nc, err := w.net.DialContext(w.t.Context(), "tcp", hub+":8883")
					require.NoError(w.t, err)
					cfg := w.net.TLSConfig()
					cfg.ServerName = hub
					tc := tls.Client(nc, cfg)
					d := &mqttDevice{w: w, nc: tc, stream: tc}
					d.connect("dev", hub+"/dev/?api-version=2021-04-12", sas.Token(
						hub+"/devices/dev", raw, time.Now().Add(time.Hour),
					))
					d.connack = d.read().(*packets.ConnackPacket)
					return d
				}
				d := connect(hubA)
				require.Equal(w.t, byte(0), d.connack.ReturnCode)
				move(w)
				d.ended()
				assert.Equal(w.t, byte(5), connect(hubA).connack.ReturnCode, "rejected")
				d = connect(hubB)
				assert.Equal(w.t, byte(0), d.connack.ReturnCode)
				d.close()
			})
		})
	}
}

func TestUnlinkedHub(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		fixed := func(p *dpstest.ReprovisionPolicy) func(*dpstest.IndividualEnrollment) {
			return func(e *dpstest.IndividualEnrollment) { e.ReprovisionPolicy, e.IoTHubs = p, nil }
		}
		w.enroll("stays", fixed(policy(false, false)))
		w.enroll("moves", fixed(policy(true, true)))
		require.True(t, w.dps.Unlink(hubB))
		assert.False(t, w.dps.Unlink(hubB))
		for _, id := range []string{"stays", "moves"} {
			require.Equal(
				t, hubA, w.assigned(dpstest.HTTPS, id, version, byKey(id, key1)).AssignedHub,
			)
		}
		w.dps.Link(w.b)
		require.True(t, w.dps.Unlink(hubA))
		assert.Equal(
			t, hubB, w.assigned(dpstest.HTTPS, "moves", version, byKey("moves", key1)).AssignedHub,
		)
		assert.True(t, has(w.a, "moves"), "of a hub that is not linked nothing is removed")
		failed := w.assigned(dpstest.HTTPS, "stays", version, byKey("stays", key1))
		assert.Equal(t, 400208, failed.ErrorCode)
		w.dps.Link(w.a)
		assert.Equal(
			t, hubA, w.assigned(dpstest.HTTPS, "stays", version, byKey("stays", key1)).AssignedHub,
			"a failure forgets nothing",
		)
	})
}

func TestDisabledDeviceKeepsItsPlace(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		in := func(hub string) func(*dpstest.IndividualEnrollment) {
			return func(e *dpstest.IndividualEnrollment) {
				e.ReprovisionPolicy, e.IoTHubHostName = policy(false, false), hub
			}
		}
		w.enroll("dev", in(hubB))
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		w.enroll("dev", in(hubA))
		require.NoError(t, w.dps.SetEnabled("dev", false))
		assert.Equal(
			t, "disabled", w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).Status,
		)
		require.NoError(t, w.dps.SetEnabled("dev", true))
		assert.Equal(
			t, hubB, w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).AssignedHub,
		)
	})
}

func TestHashedAllocationFollowsTheWeights(t *testing.T) {
	inBubble(t, dpstest.Config{AssignTime: -1, RegistrationsPerMinute: -1}, func(w *world) {
		w.dps.Link(w.b)
		require.NoError(t, w.dps.SetWeight(hubB, 3))
		assert.Error(t, w.dps.SetWeight(hubB, 0))
		assert.Error(t, w.dps.SetWeight("elsewhere", 1))
		require.NoError(t, w.dps.EnrollGroup(
			dpstest.EnrollmentGroup{EnrollmentGroupID: "g", Attestation: dpstest.Keys(key1, "")},
		))
		const devices = 400
		at := map[string]string{}
		register := func(id string) string {
			d := w.https(id, version, byKey(id, derived(key1, id)))
			defer d.close()
			return d.poll(d.register("").decode(t).OperationID, "").decode(t).state(t).AssignedHub
		}
		count := map[string]int{}
		for i := range devices {
			id := "dev-" + strconv.Itoa(i)
			at[id] = register(id)
			count[at[id]]++
		}
		assert.InDelta(t, devices*3/4, count[hubB], devices/10)
		for i := range 20 {
			id := "dev-" + strconv.Itoa(i)
			assert.Equal(t, at[id], register(id), "the same device, the same hub")
		}
		require.True(t, w.dps.Unlink(hubA))
		for i := range 20 {
			assert.Equal(t, hubB, register("dev-"+strconv.Itoa(i)))
		}
	})
}

func TestLatencyAllocation(t *testing.T) {
	far := map[string]time.Duration{hubA: 80 * time.Millisecond, hubB: 20 * time.Millisecond}
	cfg := dpstest.Config{
		AllocationPolicy: dpstest.PolicyGeoLatency,
		Latency:          func(_, hub string) time.Duration { return far[hub] },
	}
	inBubble(t, cfg, func(w *world) {
		w.dps.Link(w.b)
		w.enroll("dev")
		assert.Equal(
			t, hubB, w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).AssignedHub,
		)
		w.enroll("near-a", func(e *dpstest.IndividualEnrollment) { e.IoTHubs = []string{hubA} })
		assert.Equal(
			t, hubA,
			w.assigned(dpstest.HTTPS, "near-a", version, byKey("near-a", key1)).AssignedHub,
			"of the hubs it may go to",
		)
	})
}

func TestCustomAllocation(t *testing.T) {
	var asked dpstest.Allocation
	var answer dpstest.Allocated
	var fails error
	cfg := dpstest.Config{
		Allocate: func(_ context.Context, a dpstest.Allocation) (dpstest.Allocated, error) {
			asked = a
			return answer, fails
		},
	}
	inBubble(t, cfg, func(w *world) {
		w.dps.Link(w.b)
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.ReprovisionPolicy = policy(false, false)
		})
		c := byKey("dev", key1)
		register := func() body { return w.assigned(dpstest.HTTPS, "dev", version, c) }

		fails = errors.New("status code: 400")
		state := register()
		assert.Equal(t, "failed", state.Status)
		assert.Equal(t, 400207, state.ErrorCode)
		assert.Equal(t, "Custom allocation failed: status code: 400", state.ErrorMessage)

		fails, answer = nil, dpstest.Allocated{Hub: "elsewhere.azure-devices.net"}
		assert.Equal(t, 400207, register().ErrorCode)
		assert.Equal(t, []string{hubA, hubB}, asked.LinkedHubs)

		answer.Hub = hubB
		assert.Equal(t, hubB, register().AssignedHub)

		answer = dpstest.Allocated{Hub: hubB, Payload: []byte(`"hi"`)}
		assert.JSONEq(
			t, `"hi"`, string(register().Payload), "it is asked although the device may not move",
		)
		assert.Equal(t, []string{hubB}, asked.LinkedHubs, "but has no choice")
		assert.Equal(t, hubB, asked.CurrentHub)
	})
	inBubble(t, dpstest.Config{AllocationPolicy: dpstest.PolicyCustom}, func(w *world) {
		w.enroll("dev")
		assert.Equal(
			t, 400207, w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1)).ErrorCode,
			"nobody to call",
		)
	})
}

func TestHubThatRefusesTheDevice(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) { e.DeviceID = "not/a/device/id" })
		state := w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.Equal(t, "failed", state.Status)
		assert.Equal(t, 400209, state.ErrorCode)
		assert.NotEmpty(t, state.ErrorMessage)
	})
}
