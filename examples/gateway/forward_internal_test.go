// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
)

// What properties take on the way counts as well as bodies, which grow by a third in base64.
func TestMessagesGoToAnotherReplicaInPartsThatNATSCarries(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]hubconn.Message{
		"properties": {Properties: map[string]string{
			"note": strings.Repeat("<", 9<<10), strings.Repeat("n", 2<<10): "x",
		}},
		"bodies": {Body: []byte(strings.Repeat("x", 200<<10))},
		"small":  {Body: []byte("x")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			r := another(t, func(p intake.Parcel) intake.Receipt {
				assert.Equal(t, "sensor-1", p.Device)
				assert.Equal(t, intake.Alarms, p.Lane)
				for i := range p.Messages {
					got = append(got, p.Messages[i].MessageID)
					assert.Equal(t, c.Properties, p.Messages[i].Properties)
					assert.Equal(t, c.Body, p.Messages[i].Body)
				}
				return intake.NewReceipt(nil)
			})
			var messages []hubconn.Message
			var want []string
			for i := range 64 {
				m := c
				m.MessageID = fmt.Sprint(i)
				messages, want = append(messages, m), append(want, m.MessageID)
			}
			require.NoError(t, r.forward(t.Context(), "b", "sensor-1", intake.Alarms, messages))
			assert.Equal(t, want, got)
		})
	}
}

func TestAReplicaThatCannotBeGivenAMessageIsToldOfWithTheCause(t *testing.T) {
	t.Parallel()
	r := another(t, nil)
	some := []hubconn.Message{{Body: []byte("x")}}
	err := r.forward(t.Context(), "gone", "sensor-1", intake.Telemetry, some)
	refusal, ok := errors.AsType[*intake.Refusal](err)
	require.True(t, ok, "%v", err)
	assert.Equal(t, http.StatusServiceUnavailable, refusal.Status)
	assert.Equal(t, later, refusal.RetryAfter)
	assert.Contains(t, refusal.Text, "replica gone, which runs the device, does not answer")
	assert.Contains(t, refusal.Text, "no responders")
	first := some[0].MessageID
	assert.NotEmpty(t, first)
	assert.Error(t, r.forward(t.Context(), "gone", "sensor-1", intake.Telemetry, some))
	assert.Equal(t, first, some[0].MessageID, "it can be told that it is the same")

	large := hubconn.Message{Properties: map[string]string{"x": strings.Repeat("\x01", 400<<10)}}
	err = r.forward(t.Context(), "b", "sensor-1", intake.Telemetry, []hubconn.Message{large})
	refusal, ok = errors.AsType[*intake.Refusal](err)
	require.True(t, ok, "%v", err)
	assert.True(t, refusal.Permanent())
	assert.Contains(t, refusal.Text, "max_payload")
}

func TestFewLargeRequestsOrManySmallOnesAreWorkedOnAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newByteBudget(64 * budgetUnit)
		taken := func(ctx context.Context, size int) (done func() bool) {
			over := make(chan bool, 1)
			go func() { over <- b.take(ctx, size) }()
			return func() bool {
				synctest.Wait()
				select {
				case ok := <-over:
					return ok
				default:
					return false
				}
			}
		}
		for range 64 {
			require.True(t, taken(t.Context(), 100)())
		}
		next := taken(t.Context(), 100)
		assert.False(t, next())
		b.release(100)
		assert.True(t, next())
		for range 64 {
			b.release(100)
		}
		const large = 16 * budgetUnit
		for range 4 {
			require.True(t, taken(t.Context(), large)())
		}
		next = taken(t.Context(), large)
		b.release(large - budgetUnit)
		assert.False(t, next(), "it needs more")
		b.release(budgetUnit)
		assert.True(t, next())

		ctx, cancel := context.WithCancel(t.Context())
		b.release(large - budgetUnit)
		next = taken(ctx, large)
		assert.False(t, next())
		cancel()
		assert.False(t, next())
		b.release(3*large + budgetUnit)
		assert.Empty(t, b.units, "nothing is lost of it")
		require.True(t, taken(t.Context(), 1000*budgetUnit)(), "one at a time at least")
	})
}

func TestALargeBacklogCanBeLeftBeforeItIsRead(t *testing.T) {
	t.Parallel()
	g := opened(t, slog.New(slog.DiscardHandler), "sensor-1", "sensor-2")
	for _, id := range []string{"sensor-1", "sensor-2"} {
		box, err := g.box(id)
		require.NoError(t, err)
		require.NoError(t, box.Send(t.Context(), hubconn.Message{Body: []byte("kept")}))
	}
	require.NoError(t, g.close())
	asked := 0
	_, err := open(g.o, nil, g.log, func() error {
		if asked++; asked == 2 {
			return errStopped
		}
		return nil
	})
	assert.ErrorIs(t, err, errStopped)
	again, err := open(g.o, nil, g.log, func() error { return nil })
	require.NoError(t, err, "it is closed")
	assert.Len(t, again.boxes, 2)
	require.NoError(t, again.close())
}
