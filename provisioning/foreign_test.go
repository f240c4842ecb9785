// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Hubs that speak another protocol than the device, which no retry mends: it is said plainly, costs
// little, and is over when DPS names another hub.

// lines is a log that can be read while a device writes it.
type lines struct{ programtest.Output }

func logged(dev *provisioning.Device) *lines {
	var out lines
	dev.Logger = slog.New(slog.NewTextHandler(&out, nil))
	return &out
}

func TestAHubOfAnotherProtocolCostsOneRegistrationAnHour(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.a.SetConnectionProfile(hubtest.ProfileMQTTV5)
		dev := r.device()
		out := logged(dev)
		stop := r.run(dev)
		time.Sleep(24 * time.Hour)
		s := dev.Status()
		require.Equal(t, hubconn.Incompatible, s.Class)
		require.Contains(t, s.Cause, "does not speak MQTT 3.1.1")
		require.Contains(t, out.String(), "does not speak MQTT 3.1.1")
		between(t, 18, 24, time.Duration(r.asked(dpstest.Register)))
		between(t, 18, 30, time.Duration(len(r.a.Attempts())))
		require.Zero(t, r.asked(dpstest.Lookup, dpstest.Clock))

		require.NoError(t, r.dps.Move(rigID, hubB))
		require.Equal(t, hubB, r.await(0, 75*time.Minute).hub)
		stop()
	})
}

// previewVersion is the only API version that names connection profiles.
const previewVersion = "2026-11-02-preview"

func TestAHubThatDPSSaysSpeaksAnotherProtocolIsNeverDialled(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.a.SetConnectionProfile(hubtest.ProfileMQTTV5)
		dials := r.network.Dials(hubA)
		for range 2 { // at first boot, and with what was remembered then
			dev := r.device()
			dev.APIVersion = previewVersion
			out := logged(dev)
			stop := r.run(dev)
			time.Sleep(12 * time.Hour)
			for range 10 { // it may be asking just now
				if dev.Status().State == provisioning.StateWaiting {
					break
				}
				time.Sleep(time.Second)
			}
			s := dev.Status()
			require.Equal(t, provisioning.StateWaiting, s.State)
			require.Equal(t, hubA, s.Hub.Host)
			require.Contains(t, s.Cause, "does not speak MQTT 3.1.1")
			require.Contains(t, s.Cause, hubtest.ProfileMQTTV5)
			require.Contains(t, out.String(), "does not speak MQTT 3.1.1")
			require.NotContains(t, out.String(), `cause="`+hubA, "each device would have its own")
			require.False(t, s.NextDPS.IsZero())
			require.True(t, s.NextHub.IsZero())
			stop()
		}
		require.Equal(t, dials, r.network.Dials(hubA))
		between(t, 18, 24, time.Duration(r.asked(dpstest.Register)))

		dev := r.device()
		dev.APIVersion = previewVersion
		require.NoError(t, r.dps.Move(rigID, hubB))
		stop := r.run(dev)
		require.Equal(t, hubB, r.await(0, 75*time.Minute).hub)
		require.Empty(t, dev.Status().Cause)
		require.Equal(t, dials, r.network.Dials(hubA))
		stop()
	})
}

func TestAnOlderAssignmentKeepsWorkingBesideAHubOfAnotherProtocol(t *testing.T) {
	each(t, append(dpsWirings, wiring{ws: true}), func(t *testing.T, r *rig) {
		r.boot()
		r.b.SetConnectionProfile(hubtest.ProfileMQTTV5)
		require.NoError(t, r.stays(r.a, func() error { return r.dps.MoveNow(rigID, hubB) }))
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5})
		dev := r.device()
		dev.APIVersion = previewVersion
		stop := r.run(dev)
		s := r.await(0, 10*time.Minute)
		require.Equal(t, hubA, s.hub)
		time.Sleep(5 * time.Hour)
		require.Len(t, r.seen(), 1)
		require.Equal(t, provisioning.StateConnected, dev.Status().State)
		require.Contains(t, dev.Status().Cause, hubB+" does not speak MQTT 3.1.1")
		require.Equal(t, 1, r.asked(dpstest.Register), "nothing is asked while it is connected")

		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: always})
		r.a.Disconnect(rigID)
		time.Sleep(5 * time.Hour)
		require.Contains(t, dev.Status().Cause, "return code 5")
		require.Contains(t, dev.Status().Cause, hubB+" does not speak MQTT 3.1.1")
		require.LessOrEqual(t, r.asked(dpstest.Register), 10)
		require.NoError(t, r.dps.Move(rigID, hubC))
		require.Equal(t, hubC, r.await(1, 75*time.Minute).hub)
		stop()
		require.Zero(t, r.network.Dials(hubB))
	})
}

func TestTheDefaultAPIVersionNamesNoProfile(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		_, err := dev.Reprovision(t.Context(), "")
		require.NoError(t, err)
		require.Equal(t, "2021-06-01", r.dps.Requests()[0].APIVersion)
	})
}
