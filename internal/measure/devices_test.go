// SPDX-License-Identifier: Apache-2.0

package measure_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/measure"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// following has a device tell what it does.
func following(s *devicetest.Simulation, d *measure.Devices) (gaps *[]time.Duration) {
	gaps = &[]time.Duration{}
	s.Device.Trace = &provisioning.Trace{
		Changed: func(s provisioning.Status) {
			if gap, ended := d.Changed(&s); ended {
				*gaps = append(*gaps, gap)
			}
		},
		Attempt: func(a provisioning.HubAttempt) { d.Attempt(&a) },
	}
	return gaps
}

func TestADeviceThatHasStoppedIsForgottenButNotWhatItDid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := devicetest.Start(t), &measure.Devices{}
		gaps := following(s, d)
		err := s.Device.Run(t.Context(), func(ctx context.Context, hub *hubconn.Conn) error {
			assert.Equal(t, 1, d.Summary().Devices[measure.Doing{State: "connected"}])
			return hub.Send(ctx, hubconn.Message{Body: []byte("hello")})
		})
		require.NoError(t, err)
		assert.Len(t, *gaps, 1)
		time.Sleep(time.Minute)
		traffic := d.Traffic()
		assert.EqualValues(t, 1, traffic.Sent)
		assert.EqualValues(t, 1, traffic.Acknowledged)
		assert.Zero(t, traffic.InFlight)
		assert.Equal(t, map[string]uint64{"": 1}, traffic.Ended)
		each := d.EachTraffic()
		assert.Equal(t, map[measure.Name]measure.Traffic{{}: traffic}, each)
		for range d.Statuses() {
			t.Error("it is not there any more")
		}
		assert.Equal(t, traffic, d.Traffic(), "it is counted once")
	})
}

func TestAConnectionOfConnectThatEndsUnseenIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d := devicetest.Start(t), &measure.Devices{}
		following(s, d)
		hub, err := s.Device.Connect(t.Context())
		require.NoError(t, err)
		require.NoError(t, hub.Send(t.Context(), hubconn.Message{Body: []byte("hello")}))
		assert.Equal(t, 1, d.Summary().Devices[measure.Doing{State: "connected"}])
		s.Network.Cut(devicetest.HubHost)
		<-hub.Context().Done()
		assert.Zero(t, d.Summary().Devices[measure.Doing{State: "connected"}])
		assert.Equal(t, map[string]uint64{"unreachable": 1}, d.Traffic().Ended)
		assert.EqualValues(t, 1, d.Traffic().Sent)
		require.NoError(t, hub.Close())
	})
}

func TestAFleetIsSummedUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		d := &measure.Devices{All: func(yield func(string, provisioning.Status) bool) {
			down := provisioning.Status{
				State: provisioning.StateWaiting, DownSince: now.Add(-time.Hour),
				Err: &hubconn.Error{Class: hubconn.Throttled}, RetryAfter: now.Add(time.Second),
			}
			up := provisioning.Status{State: provisioning.StateConnected, ClockSuspect: true}
			up.Certificate.ValidUntil = now.Add(time.Hour)
			other := up
			other.Certificate.ValidUntil, other.RetryAfter = now.Add(time.Minute), now
			_ = yield("a", down) && yield("b", up) && yield("c", other)
		}}
		sum := d.Summary()
		assert.Equal(t, time.Hour, sum.Longest)
		assert.Equal(t, now.Add(time.Minute), sum.FirstExpiry)
		assert.Equal(t, 1, sum.HeldBack)
		assert.Equal(t, 2, sum.ClockSuspect)
		assert.Equal(t, 2, sum.Devices[measure.Doing{State: "connected"}])
		assert.Equal(t, 1, sum.Devices[measure.Doing{State: "waiting", Trouble: "throttled"}])
	})
}
