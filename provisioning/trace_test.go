// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestOneTraceServesManyDevicesWhoseNamesItIsTold(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		f := newFleet(r, 20)
		full := &atomic.Bool{}
		full.Store(true)
		var mu sync.Mutex
		calls := map[string]map[string]int{}
		count := func(hook, device string) {
			mu.Lock()
			defer mu.Unlock()
			if calls[hook] == nil {
				calls[hook] = map[string]int{}
			}
			calls[hook][device]++
		}
		shared := &provisioning.Trace{
			Changed:  func(s provisioning.Status) { count("changed", s.RegistrationID) },
			Request:  func(q provisioning.DPSRequest) { count(q.Kind, q.RegistrationID) },
			Assigned: func(a dps.Assignment, _ bool) { count("assigned", a.RegistrationID) },
			StoreFailed: func(s provisioning.StoreFailure) {
				require.ErrorIs(t, s.Err, errFull)
				require.Empty(t, s.ModuleID)
				count("store", s.RegistrationID)
			},
		}
		stop := f.run(func(dev *provisioning.Device) {
			dev.Trace, dev.Store = shared, fullStore{&cache.Memory{}, full}
			require.Empty(t, dev.Status().RegistrationID)
		})
		time.Sleep(time.Minute)
		stop()
		for _, hook := range []string{"changed", "register", "assigned", "store"} {
			require.Len(t, calls[hook], len(f.stores), hook)
			for i := range f.stores {
				require.Positive(t, calls[hook][f.id(i)], "%s of %s", hook, f.id(i))
			}
		}
	})
}

func TestAModulesTraceIsToldBothNames(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		dev := r.settled(camera)
		seen := make(chan provisioning.Status, 100)
		m := r.module(dev, camera)
		m.Trace = &provisioning.Trace{Changed: func(s provisioning.Status) { seen <- s }}
		stop, g := r.run(dev), r.host(m)
		time.Sleep(time.Minute)
		s := <-seen
		require.Equal(t, rigID, s.RegistrationID)
		require.Equal(t, camera, s.ModuleID)
		require.Equal(t, camera, m.Status().ModuleID)
		require.Empty(t, dev.Status().ModuleID)
		g.stop()
		stop()
	})
}

// tracedCalls is what a Trace was told of requests and attempts.
type tracedCalls struct {
	mu        sync.Mutex
	requests  []provisioning.DPSRequest
	responses []provisioning.DPSResponse
	attempts  []provisioning.HubAttempt
}

func (s *tracedCalls) trace() *provisioning.Trace {
	return &provisioning.Trace{
		Request: func(q provisioning.DPSRequest) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.requests = append(s.requests, q)
		},
		Response: func(r provisioning.DPSResponse) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.responses = append(s.responses, r)
		},
		Attempt: func(a provisioning.HubAttempt) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.attempts = append(s.attempts, a)
		},
	}
}

func TestEachRequestAndEachAttemptIsToldWithHowItEnded(t *testing.T) {
	each(t, allWirings, func(t *testing.T, r *rig) {
		r.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 429, RetryAfter: "60"})
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3})
		seen, dev := &tracedCalls{}, r.device()
		dev.Trace = seen.trace()
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		stop()
		require.Len(t, seen.responses, 2)
		for i, response := range seen.responses {
			require.Equal(t, seen.requests[i], response.Request)
			require.Equal(t, "register", response.Request.Kind)
			require.NotEmpty(t, response.Request.Endpoint)
		}
		failure, ok := errors.AsType[*dps.Error](seen.responses[0].Err)
		require.True(t, ok)
		require.Equal(t, 429, failure.Status)
		require.NoError(t, seen.responses[1].Err)
		require.GreaterOrEqual(t, seen.responses[1].Began.Sub(seen.responses[0].Began), time.Minute)

		require.Len(t, seen.attempts, 2)
		for _, a := range seen.attempts {
			require.Equal(t, hubA, a.Hub.Host)
			require.Equal(t, rigID, a.RegistrationID)
			require.Equal(t, provisioning.StateConnecting, a.State)
			require.False(t, a.Began.IsZero())
		}
		require.Equal(t, hubconn.Server, hubconn.ClassOf(seen.attempts[0].Err))
		require.Nil(t, seen.attempts[0].Conn)
		require.NoError(t, seen.attempts[1].Err)
		require.False(t, seen.attempts[1].Conn.Stats().Ended.IsZero(), "its end shows")
	})
}

func TestWhatIsGivenUpIsToldOnce(t *testing.T) {
	each(t, []wiring{{}, {dps: dps.MQTT, ws: true}}, func(t *testing.T, r *rig) {
		r.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
		seen, dev := &tracedCalls{}, r.device()
		dev.Trace = seen.trace()
		stop := r.run(dev)
		time.Sleep(time.Second)
		stop()
		require.Len(t, seen.requests, 1)
		require.Len(t, seen.responses, 1)
		require.Equal(t, context.Canceled, seen.responses[0].Err)
		require.Empty(t, seen.attempts)
	})
	each(t, hubWirings, func(t *testing.T, r *rig) {
		dev := r.settled()
		r.network.SetFault(hubA, simnet.Blackhole)
		seen := &tracedCalls{}
		dev.Trace = seen.trace()
		stop := r.run(dev)
		time.Sleep(time.Second)
		stop()
		require.Len(t, seen.attempts, 1)
		require.Equal(t, context.Canceled, seen.attempts[0].Err)
		require.Nil(t, seen.attempts[0].Conn)
	})
}

func TestARequestOfSendIsAnAttempt(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		seen, dev := &tracedCalls{}, r.device()
		dev.Trace = seen.trace()
		require.NoError(t, dev.Send(t.Context(), hubconn.Message{Body: []byte("hello")}))
		require.Len(t, seen.attempts, 1)
		require.Equal(t, provisioning.StateSending, seen.attempts[0].State)
		require.Nil(t, seen.attempts[0].Conn)
		require.NoError(t, seen.attempts[0].Err)
		require.Len(t, seen.responses, 1)
	})
}

func TestAQuestionForTheTimeIsToldWithHowItEnded(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		seen, dev := &tracedCalls{}, r.settled()
		dev.Trace = seen.trace()
		r.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 5, Times: 2})
		r.dps.Inject(dpstest.Fault{On: dpstest.Clock, Cut: true})
		stop := r.run(dev)
		time.Sleep(10 * time.Minute)
		stop()
		require.NotEmpty(t, seen.responses)
		require.Equal(t, "time", seen.responses[0].Request.Kind)
		require.Error(t, seen.responses[0].Err)
		require.NotEqual(t, context.Canceled, seen.responses[0].Err)
		require.Len(t, seen.responses, len(seen.requests))
	})
}
