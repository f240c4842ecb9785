// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Calls that meet a Run which is ending, and what is left after Forget.

func TestRunEndsThoughItsSessionReprovisionsWithAContextOfItsOwn(t *testing.T) {
	for name, delay := range map[string]time.Duration{"during": 0, "after": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			each(t, hubWirings, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				r.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true, Times: always})
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				var failure error
				err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
					time.Sleep(delay)
					_, failure = dev.Reprovision(context.Background(), "test")
					return failure
				})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Error(t, failure)
				require.Less(t, r.elapsed(), time.Minute)
			})
		})
	}
}

// ownContext are calls of a session that ignores the context it was given.
var ownContext = map[string]func(ctx context.Context, dev *provisioning.Device) error{
	"assignment": func(ctx context.Context, dev *provisioning.Device) error {
		a, err := dev.Assignment(ctx)
		if err == nil && a.Hub == "" {
			return errors.New("neither an assignment nor an error")
		}
		return err
	},
	"reprovision": func(ctx context.Context, dev *provisioning.Device) error {
		_, err := dev.Reprovision(ctx, "test")
		return err
	},
	"forget": func(ctx context.Context, dev *provisioning.Device) error { return dev.Forget(ctx) },
	"remembered": func(ctx context.Context, dev *provisioning.Device) error {
		_, err := dev.Remembered(ctx)
		return err
	},
	"status": func(ctx context.Context, dev *provisioning.Device) error {
		_ = dev.Status()
		return nil
	},
	"send": func(ctx context.Context, dev *provisioning.Device) error {
		return dev.Send(ctx, hubconn.Message{Body: []byte("x")})
	},
	"receive": func(ctx context.Context, dev *provisioning.Device) error {
		_, err := dev.Receive(ctx)
		return err
	},
	"connect": func(ctx context.Context, dev *provisioning.Device) error {
		_, err := dev.Connect(ctx)
		return err
	},
	"run": func(ctx context.Context, dev *provisioning.Device) error {
		return dev.Run(ctx, func(context.Context, *hubconn.Conn) error { return nil })
	},
}

// A session that waits for a call, and a Run that waits for its session, must not wait for each
// other. In a bubble that is found at once.
func TestRunEndsWhateverItsSessionCallsWithAContextOfItsOwn(t *testing.T) {
	background := context.Background()
	before := map[string]func(r *rig, dev *provisioning.Device){
		"": func(*rig, *provisioning.Device) {},
		"forgotten": func(r *rig, dev *provisioning.Device) {
			assert.NoError(r.t, dev.Forget(background))
		},
		"dps dead": func(r *rig, _ *provisioning.Device) {
			r.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
		},
		"forgotten, dps dead": func(r *rig, dev *provisioning.Device) {
			r.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
			assert.NoError(r.t, dev.Forget(background))
		},
		"forgotten, hub and dps dead": func(r *rig, dev *provisioning.Device) {
			r.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole)
			r.network.SetFault(hubA, simnet.Blackhole)
			assert.NoError(r.t, dev.Forget(background))
			r.network.Cut(hubA)
		},
	}
	for prepared, prepare := range before {
		for name, method := range ownContext {
			for moment, delay := range map[string]time.Duration{
				"before": 0, "at": time.Second, "after": 2 * time.Second,
			} {
				t.Run(prepared+"/"+name+" "+moment, func(t *testing.T) {
					each(t, []wiring{{}}, func(t *testing.T, r *rig) {
						r.boot()
						dev := r.device()
						ctx, cancel := context.WithTimeout(background, time.Second)
						defer cancel()
						returned := errors.New("the session has returned")
						err := dev.Run(ctx, func(_ context.Context, hub *hubconn.Conn) error {
							time.Sleep(delay)
							prepare(r, dev)
							_ = method(background, dev)
							return returned
						})
						require.Error(t, err)
						require.Less(t, r.elapsed(), time.Minute)
						require.Equal(t, provisioning.StateStopped, dev.Status().State)
					})
				})
			}
		}
	}
}

func TestForgetWhileRunIsEndingForgets(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		dev := r.device()
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		err := dev.Run(ctx, func(ctx context.Context, _ *hubconn.Conn) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			assert.NoError(t, dev.Forget(context.Background()))
			_, err := dev.Assignment(context.Background())
			assert.ErrorContains(t, err, "run is ending")
			return nil
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = r.store.Get(context.Background(), rigID)
		require.ErrorIs(t, err, cache.ErrMiss)
		a, err := dev.Assignment(context.Background())
		require.NoError(t, err)
		require.Equal(t, hubA, a.Hub)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}

func TestAssignmentAfterForgetAsksDPS(t *testing.T) {
	forgotten := func(t *testing.T, r *rig, dev *provisioning.Device) {
		assert.NoError(t, dev.Forget(context.Background()))
		a, err := dev.Assignment(context.Background())
		assert.NoError(t, err)
		assert.Equal(t, hubA, a.Hub)
		assert.Equal(t, 1, r.asked(dpstest.Register))
	}
	calls := map[string]func(t *testing.T, r *rig, dev *provisioning.Device){
		"while stopped": forgotten,
		"while connected": func(t *testing.T, r *rig, dev *provisioning.Device) {
			conn, err := dev.Connect(context.Background())
			require.NoError(t, err)
			forgotten(t, r, dev)
			require.NoError(t, conn.Close())
		},
		"beside run": func(t *testing.T, r *rig, dev *provisioning.Device) {
			stop := r.run(dev)
			r.await(0, time.Minute)
			forgotten(t, r, dev)
			stop()
		},
		"in the session": func(t *testing.T, r *rig, dev *provisioning.Device) {
			done := errors.New("done")
			first := true
			err := dev.Run(context.Background(), func(context.Context, *hubconn.Conn) error {
				if first {
					first = false
					forgotten(t, r, dev)
				}
				return done
			})
			require.ErrorIs(t, err, done)
		},
		"while run ends": func(t *testing.T, r *rig, dev *provisioning.Device) {
			ctx, stop := context.WithCancel(context.Background())
			ran := make(chan error, 1)
			go func() { ran <- dev.Run(ctx, r.session) }()
			r.await(0, time.Minute)
			done := make(chan struct{})
			assert.NoError(t, dev.Forget(context.Background()))
			go func() {
				defer close(done)
				_, err := dev.Assignment(context.Background())
				for err != nil {
					time.Sleep(rigStep)
					_, err = dev.Assignment(context.Background())
				}
			}()
			stop()
			require.ErrorIs(t, <-ran, context.Canceled)
			<-done
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				r.boot()
				call(t, r, r.device())
			})
		})
	}
}

func TestRunEndsAtOnceWhoseHubHasStoppedReading(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.boot()
		stopped := errors.New("stopped by the test")
		ctx, cancel := context.WithCancelCause(t.Context())
		full := make(chan struct{})
		done := make(chan error, 1)
		go func() {
			done <- r.device().Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				return r.busy(ctx, hub, full)
			})
		}()
		<-full
		at := time.Now()
		cancel(stopped)
		require.ErrorIs(t, <-done, stopped)
		took := time.Since(at)
		t.Log(took)
		require.LessOrEqual(t, took, 100*time.Millisecond)
		time.Sleep(5 * time.Second) // the goodbye ends by itself
	})
}

// busy is a session of a program that uses all that a hub has for it, whose peer stops reading.
func (r *rig) busy(ctx context.Context, hub *hubconn.Conn, full chan struct{}) error {
	var loops sync.WaitGroup
	loops.Go(func() {
		for range hub.Messages(ctx) {
		}
	})
	loops.Go(func() {
		for range hub.Desired(ctx) {
		}
	})
	called := make(chan struct{}, 1)
	loops.Go(func() {
		_ = hub.HandleMethods(ctx, hubconn.Methods{
			Default: func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
				called <- struct{}{}
				<-ctx.Done()
				return 200, "done", nil
			},
		})
	})
	time.Sleep(time.Second)
	loops.Go(func() {
		_, _, _ = r.a.Invoke(ctx, rigID, "m", nil, hubtest.InvokeOptions{})
	})
	<-called
	r.network.Stall(hubA, true)
	for range 6 {
		loops.Go(func() {
			for ctx.Err() == nil {
				_ = hub.Send(ctx, hubconn.Message{Body: make([]byte, 200<<10)})
			}
		})
	}
	time.Sleep(5 * time.Second)
	close(full)
	loops.Wait()
	return ctx.Err()
}
