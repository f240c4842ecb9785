// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// severed is a device whose cable was pulled.
func severed(dev *provisioning.Device, at time.Time) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if time.Now().After(at) {
			return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ENETUNREACH}
		}
		return open(ctx, network, address)
	}
}

func TestAFilterAtWarnFindsExactlyTheDarkDevicesOfAFleet(t *testing.T) {
	const size = 200
	const cable, disabled, newcomer = 17, 42, 199
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f := newFleet(r, size)
		dark := []string{f.id(cable), f.id(disabled), f.id(newcomer)}
		require.True(t, r.dps.RemoveEnrollment(f.id(newcomer)))
		var out journal
		next := 0
		stop := f.run(func(dev *provisioning.Device) {
			dev.Logger = out.logger()
			dev.Hub.TokenTTL = 30 * 24 * time.Hour // renewals are not what this is about
			dev.Hub.KeepAlive = 19 * time.Minute
			if next == cable {
				severed(dev, r.start.Add(time.Hour))
			}
			next++
		})
		time.Sleep(time.Hour)
		require.NoError(t, r.dps.SetEnabled(f.id(disabled), false))
		thief, known := r.a.Get(f.id(disabled))
		require.True(t, known)
		thief.Disabled = true
		require.NoError(t, r.a.Put(thief))
		r.a.Disconnect(f.id(cable)) // it would be noticed later
		r.a.Disconnect(f.id(disabled))

		// Three days, with what happens to a fleet.
		r.network.Cut(hubA) // each link breaks
		time.Sleep(8 * time.Hour)
		r.network.RefuseFor(hubA, 4*time.Minute) // the hub fails over
		r.network.Cut(hubA)
		time.Sleep(8 * time.Hour)
		for i := range 20 { // some are served badly for a while
			r.a.Inject(hubtest.Fault{
				On: hubtest.Connect, DeviceID: f.id(100 + i), ReturnCode: 3, Times: 3,
			})
			r.a.Disconnect(f.id(100 + i))
		}
		time.Sleep(8 * time.Hour)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused) // DPS is away
		for i := range 20 {                                        // and some are moved
			require.NoError(t, r.dps.MoveNow(f.id(60+i), hubB))
		}
		time.Sleep(45 * time.Second)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
		time.Sleep(2 * 24 * time.Hour)

		found := map[string]int{}
		for _, keys := range out.at(t, slog.LevelWarn) {
			found[keys["device"].(string)]++
		}
		var names []string
		for name := range found {
			names = append(names, name)
		}
		slices.Sort(names)
		require.Equal(t, dark, names)
		for _, keys := range out.at(t, slog.LevelInfo) {
			require.NotEmpty(t, keys["device"], "%v", keys)
		}
		all := len(out.at(t, slog.LevelDebug))
		t.Logf("%d lines, of which a filter at WARN leaves %v", all, found)
		stop()
	})
}
