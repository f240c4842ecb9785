// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// A device that has nothing to do before its deadline is told so at once: each second awake costs
// it as much as a minute asleep.

// tooSoon makes a call with two minutes, which has to end at once.
func (r *rig) tooSoon(call func(ctx context.Context) error) *provisioning.TooSoonError {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), wake)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	soon, ok := errors.AsType[*provisioning.TooSoonError](err)
	require.True(r.t, ok, "%v", err)
	require.Less(r.t, time.Since(began), time.Second)
	require.NoError(r.t, ctx.Err())
	require.ErrorIs(r.t, err, context.DeadlineExceeded)
	require.Equal(r.t, soon.Wait, retry.After(err))
	require.Equal(r.t, retry.Wait, retry.Classify(err))
	require.NotContains(r.t, err.Error(), "\n")
	return soon
}

func TestSendAndReceiveEndAtOnceWhereTheNextTryLiesBehindTheDeadline(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{
			On: hubtest.Send, Status: 429, ErrorCode: "ThrottlingException", RetryAfter: "3600",
		})
		dev := r.device()
		send := func(ctx context.Context) error { return dev.Send(ctx, reading) }
		first := r.tooSoon(send)
		between(t, time.Hour, time.Hour+6*time.Second, first.Wait)
		require.Equal(t, hubconn.Throttled, hubconn.ClassOf(first))

		time.Sleep(20 * time.Minute)
		again := r.tooSoon(send)
		require.InDelta(t, first.Wait-20*time.Minute, again.Wait, float64(time.Second))
		require.Len(t, r.posts(r.a), 1, "no request for nothing")

		dev = r.device() // the next process
		time.Sleep(20 * time.Minute)
		later := r.tooSoon(func(ctx context.Context) error {
			d, err := dev.Receive(ctx)
			require.Nil(t, d)
			return err
		})
		require.InDelta(t, again.Wait-20*time.Minute, later.Wait, float64(6*time.Second))
		require.NoError(t, later.Err)
		require.Equal(t, provisioning.StateStopped, dev.Status().State)

		time.Sleep(later.Wait)
		require.NoError(t, dev.Send(context.Background(), reading), "as it was told")
		require.Len(t, r.posts(r.a), 2)
		require.Zero(t, r.asked())
	})
}

func TestSendWaitsForDPSNoLongerThanItsDeadlineAllows(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "600"})
		dev := r.device()
		soon := r.tooSoon(func(ctx context.Context) error { return dev.Send(ctx, reading) })
		between(t, 10*time.Minute, 30*time.Minute, soon.Wait)
		require.ErrorContains(t, soon, "429")
		began := time.Now()
		require.NoError(t, dev.Send(context.Background(), reading), "without one it waits")
		between(t, soon.Wait, soon.Wait+10*time.Second, time.Since(began))
	})
}

// A try that is allowed before the deadline is made, and what is under way goes on.
func TestSendTriesForAsLongAsItsDeadlineAllows(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.warmed()
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Status: 503, Times: always})
		ctx, cancel := context.WithTimeout(context.Background(), wake)
		defer cancel()
		began := time.Now()
		err := r.device().Send(ctx, reading)
		soon, ok := errors.AsType[*provisioning.TooSoonError](err)
		require.True(t, ok, "%v", err)
		require.GreaterOrEqual(t, len(r.posts(r.a)), 3)
		require.Greater(t, time.Since(began)+soon.Wait, wake)
		require.Equal(t, hubconn.Server, hubconn.ClassOf(err))
	})
}

// Status says what a call does that makes no connection.
func TestStatesOfSendAndReceiveAreNoneOfAConnection(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		var states []provisioning.State
		dev := r.device()
		dev.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) {
			states = append(states, s.State)
		}}
		r.a.Inject(hubtest.Fault{On: hubtest.Send, Status: 503})
		require.NoError(t, dev.Send(context.Background(), reading))
		_, err := dev.Receive(context.Background())
		require.NoError(t, err)
		require.Equal(t, []provisioning.State{
			provisioning.StateRegistering, provisioning.StateSending, provisioning.StateWaiting,
			provisioning.StateSending, provisioning.StateStopped,
			provisioning.StateReceiving, provisioning.StateStopped,
		}, states)
	})
}

// What ends a call may have several reasons, and is one line all the same.
func TestWhatEndsACallIsOneLine(t *testing.T) {
	each(t, sendWirings, func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(hubA, simnet.Refused)
		ctx, cancel := context.WithTimeoutCause(context.Background(), time.Minute, errSlept)
		defer cancel()
		err := r.device().Run(ctx, r.session)
		require.ErrorIs(t, err, errSlept)
		require.Equal(t, hubconn.Unreachable, hubconn.ClassOf(err))
		_, ok := errors.AsType[*hubconn.Error](err)
		require.True(t, ok, "and what was wrong until then: %v", err)
		require.NotContains(t, err.Error(), "\n")

		dev := r.device()
		dev.Store = &brokenStore{Store: r.store, put: errors.New("no space"), get: errSlept}
		dev.Issuance = &provisioning.Issuance{}
		if err := dev.Forget(context.Background()); err != nil {
			require.NotContains(t, err.Error(), "\n")
		}
	})
}
