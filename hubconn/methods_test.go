// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// serve handles methods until the test ends, and returns when the hub knows that.
func (s *stage) serve(conn *hubconn.Conn, m hubconn.Methods) {
	ctx, cancel := context.WithCancel(s.Context())
	done := make(chan error, 1)
	go func() { done <- conn.HandleMethods(ctx, m) }()
	s.Cleanup(func() {
		cancel()
		<-done
	})
	s.eventually("online", func() bool {
		_, _, err := s.hub.Invoke(s.Context(), s.id(), "-", nil, hubtest.InvokeOptions{})
		return err == nil
	})
}

func (s *stage) invoke(method string, payload any) (int, string, error) {
	status, response, err := s.hub.Invoke(
		s.Context(), s.id(), method, payload, hubtest.InvokeOptions{},
	)
	return status, string(response), err
}

func echo(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
	return 202, map[string]any{"name": r.Name, "payload": r.Payload}, nil
}

func TestMethodsAreAnsweredByTheirHandlers(t *testing.T) {
	for _, module := range []bool{false, true} {
		playEverywhere(t, func(s *stage) {
			if module {
				s.becomesModule()
			}
			conn := s.connect()
			s.serve(conn, hubconn.Methods{Handlers: map[string]hubconn.MethodHandler{
				"echo":   echo,
				"sp ace": echo,
				"zero":   func(context.Context, hubconn.MethodRequest) (int, any, error) { return 0, nil, nil },
				"raw": func(context.Context, hubconn.MethodRequest) (int, any, error) {
					return 7, json.RawMessage(`{"a":  1}`), nil
				},
				"fails": func(context.Context, hubconn.MethodRequest) (int, any, error) {
					return 204, nil, errors.New("too \"hot\"\nto touch")
				},
				"negative": func(context.Context, hubconn.MethodRequest) (int, any, error) { return -1, nil, nil },
				"broken":   func(context.Context, hubconn.MethodRequest) (int, any, error) { return 200, make(chan int), nil },
				"no JSON": func(context.Context, hubconn.MethodRequest) (int, any, error) {
					return 200, json.RawMessage(`{`), nil
				},
				"nil": nil,
			}})
			for _, row := range []struct {
				method   string
				payload  any
				status   int
				response string
			}{
				{"echo", map[string]int{"a": 1}, 202, `{"name":"echo","payload":{"a":1}}`},
				{"sp ace", 5, 202, `{"name":"sp ace","payload":5}`},
				{"echo", nil, 202, `{"name":"echo","payload":null}`},
				{"zero", nil, 200, ""},
				{"raw", nil, 7, `{"a":  1}`},
				{"fails", nil, 500, `{"message":"too \"hot\" to touch"}`},
				{"negative", nil, 500, ""},
				{"broken", nil, 500, `{"message":"the response cannot be sent"}`},
				{"no JSON", nil, 500, `{"message":"the response cannot be sent"}`},
				{"nil", nil, 501, `{"message":"method not implemented"}`},
				{"ECHO", nil, 501, `{"message":"method not implemented"}`},
			} {
				status, response, err := s.invoke(row.method, row.payload)
				require.NoError(s, err, row.method)
				assert.Equal(s, row.status, status, row.method)
				if row.response == "" {
					assert.Contains(s, []string{"", "null"}, response, row.method)
				} else {
					assert.JSONEq(s, row.response, response, row.method)
				}
			}
			require.NoError(s, conn.Context().Err())
		})
	}
}

func TestTheDefaultHandlerTakesEveryOtherName(t *testing.T) {
	play(t, func(s *stage) {
		s.serve(s.connect(), hubconn.Methods{Default: echo})
		status, response, err := s.invoke("anything", 1)
		require.NoError(s, err)
		assert.Equal(s, 202, status)
		assert.JSONEq(s, `{"name":"anything","payload":1}`, response)
	})
}

func TestAHandlerThatPanicsAnswers500AndTheDeviceLivesOn(t *testing.T) {
	play(t, func(s *stage) {
		var log bytes.Buffer
		s.dialer.Logger = slog.New(slog.NewTextHandler(&log, nil))
		conn := s.connect()
		s.serve(conn, hubconn.Methods{MaxConcurrent: 1, Handlers: map[string]hubconn.MethodHandler{
			"panics": func(_ context.Context, r hubconn.MethodRequest) (int, any, error) { panic(string(r.Payload)) },
			"index": func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
				return int(r.Payload[len(r.Payload)+1]), nil, nil
			},
			"exits": func(context.Context, hubconn.MethodRequest) (int, any, error) {
				runtime.Goexit()
				return 0, nil, nil
			},
			"encodes": func(context.Context, hubconn.MethodRequest) (int, any, error) { return 200, panicky{}, nil },
			"errs": func(context.Context, hubconn.MethodRequest) (int, any, error) {
				var none *fault
				return 200, nil, none // an error that is not nil
			},
			"echo": echo,
		}})
		for _, method := range []string{"panics", "index", "exits", "encodes", "errs", "panics"} {
			status, response, err := s.invoke(method, "secret")
			require.NoError(s, err, method)
			assert.Equal(s, 500, status, method)
			assert.JSONEq(s, `{"message":"the handler failed"}`, response, method)
		}
		status, _, err := s.invoke("echo", nil)
		require.NoError(s, err)
		assert.Equal(s, 202, status)
		require.NoError(s, conn.Context().Err())
		synctest.Wait()
		assert.Contains(s, log.String(), "methods_test.go")
		assert.Contains(s, log.String(), "index out of range")
		assert.NotContains(s, log.String(), "secret")
	})
}

type fault struct{ text string }

func (f *fault) Error() string { return f.text }

type panicky struct{}

func (panicky) MarshalJSON() ([]byte, error) { panic("boom") }

func TestPayloadsUpToTheLimitAndNotAbove(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		var size int
		s.serve(conn, hubconn.Methods{
			Default: func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
				if r.Name == "in" {
					return len(r.Payload), nil, nil
				}
				return 200, json.RawMessage(`"` + strings.Repeat("x", size-2) + `"`), nil
			},
		})
		status, _, err := s.invoke("in", json.RawMessage(`"`+strings.Repeat("x", 128<<10-2)+`"`))
		require.NoError(s, err)
		assert.Equal(s, 128<<10, status)
		size = 128 << 10
		status, response, err := s.invoke("out", nil)
		require.NoError(s, err)
		assert.Equal(s, 200, status)
		assert.Len(s, response, 128<<10)
		size++
		status, _, err = s.invoke("out", nil)
		require.NoError(s, err)
		assert.Equal(s, 500, status)
		require.NoError(s, conn.Context().Err())
	})
}

func TestHandlersAreBoundedAndSoIsTheirQueue(t *testing.T) {
	for _, limit := range []int{0, 3} {
		play(t, func(s *stage) {
			want := limit
			if limit == 0 {
				want = 8
			}
			var running, most atomic.Int32
			gate := make(chan struct{})
			s.serve(s.connect(), hubconn.Methods{
				MaxConcurrent: limit, Handlers: map[string]hubconn.MethodHandler{
					"waits": func(context.Context, hubconn.MethodRequest) (int, any, error) {
						most.Store(max(most.Load(), running.Add(1)))
						<-gate
						running.Add(-1)
						return 200, nil, nil
					},
				},
			})
			statuses := map[int]int{}
			var mu sync.Mutex
			var calling sync.WaitGroup
			for range want + 64 + 10 {
				calling.Go(func() {
					status, _, err := s.invoke("waits", nil)
					assert.NoError(s, err)
					mu.Lock()
					defer mu.Unlock()
					statuses[status]++
				})
				synctest.Wait()
			}
			mu.Lock()
			assert.Equal(s, map[int]int{429: 10}, statuses)
			mu.Unlock()
			close(gate)
			calling.Wait()
			assert.Equal(s, map[int]int{429: 10, 200: want + 64}, statuses)
			assert.EqualValues(s, want, most.Load())
		})
	}
}

func TestAHandlerHasUntilTheCallsTimeIsUp(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		left := make(chan time.Duration, 9)
		s.serve(conn, hubconn.Methods{MaxConcurrent: 1, Timeout: 10 * time.Second,
			Handlers: map[string]hubconn.MethodHandler{
				"in time": func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
					deadline, _ := ctx.Deadline()
					left <- time.Until(deadline)
					time.Sleep(10*time.Second - time.Millisecond)
					return 200, nil, nil
				},
				"late": func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
					<-ctx.Done()
					return 200, nil, nil
				},
			}})
		status, _, err := s.invoke("in time", nil)
		require.NoError(s, err)
		assert.Equal(s, 200, status)
		assert.Equal(s, 10*time.Second, <-left)
		synctest.Wait()

		messages := conn.Stats().Responses
		_, _, err = s.invoke("late", nil)
		assert.ErrorContains(s, err, "504101")
		assert.Equal(s, messages, conn.Stats().Responses, "nothing was sent")

		// The wait for a turn counts.
		var calling sync.WaitGroup
		for range 2 {
			calling.Go(func() { _, _, _ = s.invoke("in time", nil) })
		}
		calling.Wait()
		assert.Equal(s, 10*time.Second, <-left)
		assert.Equal(s, time.Millisecond, <-left)
	})
}

func TestACallWhoseTimePassesBeforeItsTurnIsNotHandled(t *testing.T) {
	play(t, func(s *stage) {
		handled := make(chan string, 2)
		s.serve(s.connect(), hubconn.Methods{
			MaxConcurrent: 1, Timeout: 10 * time.Second,
			Handlers: map[string]hubconn.MethodHandler{
				"long": func(context.Context, hubconn.MethodRequest) (int, any, error) {
					time.Sleep(time.Minute)
					return 200, nil, nil
				},
				"next": func(context.Context, hubconn.MethodRequest) (int, any, error) {
					handled <- "next"
					return 200, nil, nil
				},
			},
		})
		var calling sync.WaitGroup
		for _, method := range []string{"long", "next"} {
			calling.Go(func() { _, _, _ = s.invoke(method, nil) })
			synctest.Wait()
		}
		time.Sleep(2 * time.Minute)
		calling.Wait()
		assert.Empty(s, handled)
	})
}

func TestNoCallComesWhileTheLastHandlersFinish(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		done := make(chan error, 1)
		go func() {
			done <- conn.HandleMethods(ctx, hubconn.Methods{
				Default: func(context.Context, hubconn.MethodRequest) (int, any, error) {
					time.Sleep(20 * time.Second)
					return 200, nil, nil
				},
			})
		}()
		synctest.Wait()
		go func() { _, _, _ = s.invoke("last", nil) }()
		synctest.Wait()
		cancel()
		time.Sleep(time.Second)
		_, _, err := s.invoke("x", nil)
		assert.ErrorContains(s, err, "404103")
		<-done
	})
}

func TestHandleMethodsReturnsAfterItsHandlers(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(s.Context())
		finished := false
		done := make(chan error, 1)
		go func() {
			done <- conn.HandleMethods(ctx, hubconn.Methods{
				Default: func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
					<-ctx.Done()
					assert.Equal(s, cause, context.Cause(ctx))
					time.Sleep(3 * time.Second)
					finished = true
					return 200, nil, nil
				},
			})
		}()
		synctest.Wait()
		time.AfterFunc(5*time.Second, func() { cancel(cause) })
		status, _, err := s.invoke("x", nil)
		require.NoError(s, err, "its work is done: the caller is told")
		assert.Equal(s, 200, status)
		err = <-done
		assert.True(s, finished)
		assert.ErrorIs(s, err, cause)
		assert.Equal(s, "methods", s.is(err, hubconn.Unreachable).Op)
		_, _, err = s.invoke("x", nil)
		assert.ErrorContains(s, err, "404103", "the hub knows that nobody listens")
		require.NoError(s, conn.Context().Err())
	})
}

func TestHandleMethodsEndsWithTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		done := make(chan error, 1)
		go func() {
			done <- conn.HandleMethods(s.Context(), hubconn.Methods{
				Default: func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
					<-ctx.Done()
					return 200, nil, nil
				},
			})
		}()
		synctest.Wait()
		go func() { _, _, _ = s.invoke("x", nil) }()
		synctest.Wait()
		s.is(conn.HandleMethods(s.Context(), hubconn.Methods{}), hubconn.Caller)
		s.network.Cut(host)
		err := <-done
		s.is(err, hubconn.Unreachable)
		assert.ErrorIs(s, err, context.Cause(conn.Context()))
	})
}

func TestMethodsGoOnThroughRenewals(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		s.serve(conn, hubconn.Methods{
			Default: func(context.Context, hubconn.MethodRequest) (int, any, error) {
				time.Sleep(5 * time.Second)
				return 200, nil, nil
			},
		})
		answered := 0
		for range 200 {
			status, _, err := s.hub.Invoke(
				s.Context(), "dev1", "x", nil, hubtest.InvokeOptions{ConnectTimeout: time.Minute},
			)
			if err == nil && status == 200 {
				answered++
			}
		}
		require.NoError(s, conn.Context().Err())
		assert.Greater(s, s.accepted(), 15)
		assert.Greater(s, answered, 190, "the hub may drop a call with the link it went over")
	})
}

func TestMethodsThatNobodyHandlesAreNotOnline(t *testing.T) {
	play(t, func(s *stage) {
		s.connect()
		_, _, err := s.invoke("x", nil)
		assert.ErrorContains(s, err, "404103")
	})
}

// The hub makes a subscription also when ctx ends before it says so.
func TestMethodsThatEndBeforeTheirSubscriptionIsMadeAreNotOnline(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, Delay: 5 * time.Second, Times: -1})
		conn := s.connect()
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		start := time.Now()
		err := conn.HandleMethods(ctx, hubconn.Methods{Default: echo})
		assert.ErrorIs(s, err, context.DeadlineExceeded)
		assert.LessOrEqual(s, time.Since(start), time.Second+100*time.Millisecond)
		time.Sleep(time.Minute)
		_, _, err = s.invoke("x", nil)
		assert.ErrorContains(s, err, "404103")
	})
}

// The new link is being set up, with the subscription, when the handlers' time ends.
func TestMethodsThatEndDuringARenewalAreNotOnline(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		done := make(chan error, 1)
		go func() { done <- conn.HandleMethods(ctx, hubconn.Methods{Default: echo}) }()
		synctest.Wait()
		// a second subscription: the renewal restores it after the first
		_, err := conn.Twin(s.Context())
		require.NoError(s, err)
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, Skip: 1, Delay: 50 * time.Second})
		for s.accepted() < 2 {
			time.Sleep(time.Second)
		}
		cancel()
		<-done
		time.Sleep(2 * time.Minute)
		require.NoError(s, conn.Context().Err())
		_, _, err = s.invoke("x", nil)
		assert.ErrorContains(s, err, "404103")
		s.serve(conn, hubconn.Methods{Default: echo})
	})
}

func TestManyCallsAtOnceAreAllAnswered(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		s.serve(s.connect(), hubconn.Methods{Default: echo})
		var calling sync.WaitGroup
		for i := range 60 {
			calling.Go(func() {
				status, response, err := s.invoke(fmt.Sprint(i), i)
				if assert.NoError(s, err) {
					assert.Equal(s, 202, status)
					assert.JSONEq(s, fmt.Sprintf(`{"name":"%d","payload":%d}`, i, i), response)
				}
			})
		}
		calling.Wait()
	})
}

func TestASilentHubDoesNotHoldUpTheEnd(t *testing.T) {
	play(t, func(s *stage) {
		var log bytes.Buffer
		s.dialer.Logger = slog.New(slog.NewTextHandler(&log, nil))
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		done := make(chan error, 1)
		go func() {
			done <- conn.HandleMethods(ctx, hubconn.Methods{
				Default: func(ctx context.Context, _ hubconn.MethodRequest) (int, any, error) {
					<-ctx.Done()
					return 200, nil, nil
				},
			})
		}()
		synctest.Wait()
		go func() { _, _, _ = s.invoke("x", nil) }()
		synctest.Wait()
		s.network.Stall(host, true)
		start := time.Now()
		cancel()
		assert.ErrorIs(s, <-done, context.Canceled)
		assert.LessOrEqual(s, time.Since(start), time.Second)
		require.NoError(s, conn.Close())
		assert.LessOrEqual(s, time.Since(start), 3*time.Second)
		assert.NotContains(s, log.String(), "could not respond", "nothing is wrong with the end")
	})
}

// The hub keeps a session's subscriptions: it calls a device that has just connected again before
// that has come to call HandleMethods.
func TestACallThatComesBeforeItsHandlersIsAnswered(t *testing.T) {
	play(t, func(s *stage) {
		first := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- first.HandleMethods(ctx, hubconn.Methods{}) }()
		synctest.Wait()
		s.hub.Disconnect(s.id())
		<-done

		handled := make(chan string, 9)
		for after, want := range map[time.Duration]error{
			0: nil, 4 * time.Second: nil,
			6 * time.Second: errors.New("504101"), // the caller may have given up
		} {
			conn := s.connect()
			result := make(chan error, 1)
			go func() {
				_, _, err := s.invoke("reboot", after)
				result <- err
			}()
			synctest.Wait()
			time.Sleep(after)
			handling := make(chan error, 1)
			go func() {
				handling <- conn.HandleMethods(ctx, hubconn.Methods{
					Default: func(_ context.Context, r hubconn.MethodRequest) (int, any, error) {
						handled <- r.Name
						return 200, nil, nil
					},
				})
			}()
			if err := <-result; want == nil {
				require.NoError(s, err, after)
				require.Equal(s, "reboot", <-handled)
			} else {
				require.ErrorContains(s, err, want.Error())
				require.Empty(s, handled)
			}
			s.hub.Disconnect(s.id())
			<-handling
		}
	})
}

func TestFewCallsWaitForHandlersThatMayNeverCome(t *testing.T) {
	play(t, func(s *stage) {
		first := s.connect()
		done := make(chan error, 1)
		go func() { done <- first.HandleMethods(s.Context(), hubconn.Methods{}) }()
		synctest.Wait()
		s.hub.Disconnect(s.id())
		<-done
		conn := s.connect()
		var answered atomic.Int64
		var calling sync.WaitGroup
		for range 100 {
			calling.Go(func() {
				if _, _, err := s.invoke("reboot", nil); err == nil {
					answered.Add(1)
				}
			})
		}
		synctest.Wait()
		go func() { done <- conn.HandleMethods(s.Context(), hubconn.Methods{}) }()
		calling.Wait()
		assert.EqualValues(s, 8, answered.Load())
		require.NoError(s, conn.Close())
		<-done
	})
}
