// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// waits are the operations that wait for the hub, until ctx ends.
var waits = map[string]func(context.Context, *hubconn.Conn) error{
	"send": func(ctx context.Context, c *hubconn.Conn) error {
		for ctx.Err() == nil {
			if err := c.Send(ctx, hubconn.Message{Body: []byte("x")}); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
		return ctx.Err()
	},
	"messages": func(ctx context.Context, c *hubconn.Conn) (failed error) {
		for _, err := range c.Messages(ctx) {
			failed = err
		}
		return failed
	},
	"methods": func(ctx context.Context, c *hubconn.Conn) error {
		return c.HandleMethods(ctx, hubconn.Methods{Default: func(
			ctx context.Context, _ hubconn.MethodRequest,
		) (int, any, error) {
			<-ctx.Done()
			return 200, nil, nil
		}})
	},
	"twin": func(ctx context.Context, c *hubconn.Conn) error {
		for {
			if _, err := c.Twin(ctx); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	},
	"report": func(ctx context.Context, c *hubconn.Conn) error {
		for {
			if _, err := c.Report(ctx, object{"a": 1}); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
		}
	},
	"desired": func(ctx context.Context, c *hubconn.Conn) (failed error) {
		for _, err := range c.Desired(ctx) {
			failed = err
		}
		return failed
	},
}

// silence makes the hub read no more, and fills what there is of room on the way to it.
func (s *stage) silence(conn *hubconn.Conn) (over func()) {
	s.network.Stall(host, true)
	ctx, cancel := context.WithCancel(s.Context())
	var sending sync.WaitGroup
	for range 31 {
		sending.Go(func() {
			_ = conn.Send(ctx, hubconn.Message{Body: make([]byte, 250<<10)})
		})
	}
	return func() {
		cancel()
		sending.Wait()
	}
}

// With a hub that reads no more, every operation ends with its ctx, whether it has just begun or is
// well under way, and so does the connection with Close.
func TestASilentHubHoldsNothingUp(t *testing.T) {
	for name, wait := range waits {
		for _, begun := range []bool{true, false} {
			play(t, func(s *stage) {
				conn := s.connect()
				ctx, cancel := context.WithCancel(s.Context())
				defer cancel()
				result := make(chan error, 1)
				if begun {
					go func() { result <- wait(ctx, conn) }()
					time.Sleep(time.Second)
				}
				over := s.silence(conn)
				synctest.Wait()
				if !begun {
					go func() { result <- wait(ctx, conn) }()
					synctest.Wait()
				}
				time.Sleep(time.Second)
				start := time.Now()
				cancel()
				assert.ErrorIs(s, <-result, context.Canceled, "%s %v", name, begun)
				assert.LessOrEqual(s, time.Since(start), 100*time.Millisecond, "%s %v", name, begun)
				start = time.Now()
				over()
				assert.Zero(s, time.Since(start))
				require.NoError(s, conn.Close())
				assert.LessOrEqual(s, time.Since(start), 100*time.Millisecond, "%s %v", name, begun)
				time.Sleep(5 * time.Second) // the goodbye ends by itself
			})
		}
	}
}

func TestASilentHubHoldsNothingUpOnRealSockets(t *testing.T) {
	for _, transport := range transports {
		t.Run(transport.String(), func(t *testing.T) {
			n, err := simnet.Listen(simnet.ListenConfig{})
			require.NoError(t, err)
			s := newStage(t, n, transport)
			conn := s.connect()
			ctx, cancel := context.WithCancel(s.Context())
			defer cancel()
			results := make(chan error, len(waits))
			for _, wait := range waits {
				go func() { results <- wait(ctx, conn) }()
			}
			time.Sleep(200 * time.Millisecond)
			over := s.silence(conn)
			time.Sleep(300 * time.Millisecond)
			start := time.Now()
			cancel()
			for range waits {
				assert.ErrorIs(t, <-results, context.Canceled)
			}
			t.Logf("all operations ended after %v", time.Since(start))
			over()
			require.NoError(t, conn.Close())
			t.Logf("closed after %v", time.Since(start))
			// What it must not wait for takes 30 s and more; bubbles test how long it takes.
			assert.Less(t, time.Since(start), 10*time.Second)
		})
	}
}

// The hub acknowledges nothing: calls wait for their turn, and others for being refused.
func TestCallsThatAreRefusedDoNotHoldUpTheEnd(t *testing.T) {
	play(t, func(s *stage) {
		for range 10 {
			s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: -1})
			conn := s.connect()
			ctx, cancel := context.WithCancel(s.Context())
			result := make(chan error, 1)
			go func() { result <- waits["methods"](ctx, conn) }()
			synctest.Wait()
			var calling sync.WaitGroup
			for range 200 {
				calling.Go(func() { _, _, _ = s.invoke("x", nil) })
			}
			time.Sleep(time.Second)
			start := time.Now()
			cancel()
			assert.ErrorIs(s, <-result, context.Canceled)
			assert.LessOrEqual(s, time.Since(start), 100*time.Millisecond)
			require.NoError(s, conn.Close())
			calling.Wait()
			s.hub.ClearFaults()
		}
	})
}
