// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// receiver takes what is handed over.
type receiver struct {
	alarms, telemetry []hubconn.Message
	calls             int
	fails             error
}

func (h *receiver) take(_ context.Context, alarm bool, messages []hubconn.Message) error {
	h.calls++
	switch {
	case h.fails != nil:
		return h.fails
	case alarm:
		if len(h.telemetry) > 0 {
			return errors.New("an alarm comes after telemetry")
		}
		h.alarms = append(h.alarms, messages...)
	default:
		h.telemetry = append(h.telemetry, messages...)
	}
	return nil
}

func TestWhatIsHandedOverIsInOrderAndGone(t *testing.T) {
	path := tempFile(t)
	f := open(t, path, quickly)
	box := boxOf(t, f)
	h := &receiver{}
	require.NoError(t, box.HandOver(t.Context(), h.take))
	assert.Zero(t, h.calls, "nothing is kept")
	numbers := make([]int, 2*aheadMessages+1)
	for i := range numbers {
		numbers[i] = i
	}
	require.NoError(t, box.Send(t.Context(), messagesOf(numbers, 0)...))
	require.NoError(t, box.SendAlarm(t.Context(), hubconn.Message{MessageID: "mine"}))

	broken := errors.New("broken")
	h.fails = broken
	assert.ErrorIs(t, box.HandOver(t.Context(), h.take), broken)
	assert.Equal(t, len(numbers)+1, box.Stats().Kept, "all stay")
	h.fails = nil
	before := contents(t, box, telemetry)
	ids := map[string]bool{}
	require.NoError(t, box.HandOver(t.Context(), h.take))
	var bodies []string
	for _, m := range h.telemetry {
		bodies = append(bodies, string(m.Body))
		ids[m.MessageID] = true
	}
	assert.Equal(t, before, bodies)
	assert.Len(t, ids, len(numbers), "each has an ID")
	assert.Equal(t, "mine", h.alarms[0].MessageID)
	s := box.Stats()
	assert.Zero(t, s.Kept)
	assert.Zero(t, s.Delivered)
	assert.EqualValues(t, len(numbers)+1, s.HandedOver)
	require.NoError(t, f.Close())
	f = open(t, path, quickly)
	assert.Zero(t, boxOf(t, f).Stats().Kept)
}

// A message that is handed over in vain is delivered with the same ID that it was shown with.
func TestWhatWasHandedOverInVainIsDelivered(t *testing.T) {
	sim := devicetest.Start(t)
	f := open(t, tempFile(t), quickly)
	box := boxOf(t, f)
	send(t, box, 1, 2)
	shown := ""
	err := box.HandOver(t.Context(), func(_ context.Context, _ bool, m []hubconn.Message) error {
		shown = m[0].MessageID
		return errors.New("nobody is there")
	})
	require.Error(t, err)
	stop := runs(t, sim, box)
	eventually(t, "both", func() bool { return len(sim.Hub.Messages()) == 2 })
	assert.Equal(t, shown, sim.Hub.Messages()[0].System["$.mid"])
	assert.EqualValues(t, 2, box.Stats().Resent, "the other may have had them")

	// While it delivers, nobody else takes anything.
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() { ended <- box.HandOver(ctx, (&receiver{fails: errors.New("called")}).take) }()
	send(t, box, 3)
	eventually(t, "the third", func() bool { return len(sim.Hub.Messages()) == 3 })
	because := errors.New("enough")
	cancel(because)
	assert.ErrorIs(t, <-ended, because)
	stop()
}
