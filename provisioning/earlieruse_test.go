// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The time is checked before a rejection is believed, so that its end may be another process's.
func TestADeviceThatStopsWhenRejectedHasAnErrorInTheNextProcessToo(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		require.True(t, r.a.Disable(rigID))
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		device := func() *provisioning.Device {
			dev := r.device()
			dev.AfterRejection = provisioning.StopWhenRejected
			return dev
		}
		ctx, cancel := context.WithTimeout(context.Background(), 6*time.Second)
		defer cancel()
		require.ErrorIs(t, device().Run(ctx, r.session), context.DeadlineExceeded)
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.None)
		err := device().Run(context.Background(), r.session)
		failure, ok := errors.AsType[*hubconn.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, hubconn.Rejected, failure.Class)
		require.Empty(t, r.seen())
	})
}

func TestANudgeThatNobodyHeardIsNotKept(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Refused)
		dev := r.device()
		stop := r.run(dev)
		time.Sleep(3 * time.Hour)
		stop()
		next := dev.Status().NextDPS
		dev.Nudge()
		stop = r.run(dev)
		time.Sleep(time.Second)
		require.Equal(t, next, dev.Status().NextDPS)
		stop()
	})
}

// What counts is how long the connection lasted, not when the program looks again.
func TestAShortConnectionFromConnectIsNotStableLater(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		for range 5 {
			conn, err := dev.Connect(context.Background())
			require.NoError(t, err)
			require.NoError(t, conn.Send(context.Background(), hubconn.Message{Body: []byte("x")}))
			time.Sleep(2 * time.Second)
			r.network.Cut(hubA)
			<-conn.Context().Done()
			time.Sleep(time.Minute)
			require.Less(t, conn.Stats().Ended.Sub(conn.Stats().Since), 10*time.Second)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		_, err := dev.Connect(ctx)
		require.Error(t, err)
		require.Equal(t, 5, dev.Status().HubAttempts)
	})
}
