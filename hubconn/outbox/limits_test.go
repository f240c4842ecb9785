// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

// large is a message of which ten have room in 10 KiB.
func large(n int) hubconn.Message {
	return hubconn.Message{Body: fmt.Appendf(nil, "%-950d", n)}
}

func trimmed(bodies []string) (all []string) {
	for _, b := range bodies {
		all = append(all, strings.TrimSpace(b))
	}
	return all
}

func TestTheOldestGiveWayAndAreCounted(t *testing.T) {
	var log bytes.Buffer
	path := tempFile(t)
	f := open(t, path, Options{
		Interval: time.Nanosecond, MaxBytes: 10 << 10, MaxAlarmBytes: 5 << 10,
		Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	box := boxOf(t, f)
	for i := range 25 {
		require.NoError(t, box.Send(t.Context(), large(i)))
		require.NoError(t, box.SendAlarm(t.Context(), large(100+i)))
	}
	assert.Equal(t, numbersFrom(15, 10), trimmed(contents(t, box, telemetry)))
	assert.Equal(t, numbersFrom(120, 5), trimmed(contents(t, box, alarms)))
	s := box.Stats()
	assert.EqualValues(t, 15+20, s.DroppedFull)
	assert.Equal(t, 15, s.Kept)
	assert.LessOrEqual(t, s.KeptBytes, int64(15<<10))
	require.NoError(t, f.Close())
	assert.Equal(t, 1, strings.Count(log.String(), "messages dropped"), "and not each: %s", &log)
	// As many as that in one call, too.
	f = open(t, path, Options{Interval: time.Nanosecond, MaxBytes: 10 << 10})
	box = boxOf(t, f)
	assert.Equal(t, s.KeptBytes, box.Stats().KeptBytes)
	require.NoError(t, box.Send(t.Context(), large(1), large(2), large(3)))
	want := []string{"22", "23", "24", "1", "2", "3"}
	assert.Equal(t, want, trimmed(contents(t, box, telemetry))[4:])
	assert.EqualValues(t, 3, box.Stats().DroppedFull)
}

func TestTheNewestFindNoRoomAndAreCounted(t *testing.T) {
	f := open(t, tempFile(t), Options{
		Interval: time.Nanosecond, MaxBytes: 10 << 10, Full: DropNewest,
	})
	box := boxOf(t, f)
	for i := range 10 {
		require.NoError(t, box.Send(t.Context(), large(i)))
	}
	err := box.Send(t.Context(), large(10))
	require.ErrorIs(t, err, ErrFull)
	oneLine(t, err, f.path, device, "it holds 10240 bytes")
	require.NoError(t, box.SendAlarm(t.Context(), large(11)), "alarms have room of their own")
	assert.Equal(t, numbersFrom(0, 10), trimmed(contents(t, box, telemetry)))
	assert.EqualValues(t, 1, box.Stats().DroppedFull)
}

func TestAMessageOverItsAgeIsNotDelivered(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		o := Options{Interval: time.Nanosecond, MaxAge: time.Hour}
		f := open(t, path, o)
		box := boxOf(t, f)
		send(t, box, 0, 1)
		time.Sleep(50 * time.Minute)
		send(t, box, 2)
		require.NoError(t, box.SendAlarm(t.Context(), numbered(3)))
		time.Sleep(20 * time.Minute)
		stop := runs(t, sim, box)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		stop()
		got, _ := first(sim.Hub.Messages())
		assert.Equal(t, []string{"3", "2"}, got)
		assert.EqualValues(t, 2, box.Stats().DroppedOld)

		// Without a connection the next commit removes them.
		send(t, box, 4, 5)
		time.Sleep(2 * time.Hour)
		send(t, box, 6)
		assert.Equal(t, []string{"6"}, contents(t, box, telemetry))
		assert.EqualValues(t, 4, box.Stats().DroppedOld)
	})
}

// A board whose clock stands still without power finds out later what time it is.
func TestAClockThatWasBehindMakesNoMessageOld(t *testing.T) {
	for name, began := range map[string]time.Time{
		"1970": time.Unix(0, 0), "a month ago": time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC),
	} {
		t.Run(name, func(t *testing.T) {
			path := tempFile(t)
			synctest.Test(t, func(t *testing.T) {
				offset := time.Until(began)
				o := Options{
					Interval: time.Nanosecond, MaxAge: 24 * time.Hour,
					Now: func() time.Time { return time.Now().Add(offset) },
				}
				f := open(t, path, o)
				box := boxOf(t, f)
				send(t, box, 0)
				time.Sleep(time.Hour)
				offset += time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC).Sub(began)
				send(t, box, 1)
				assert.Equal(t, numbersFrom(0, 2), contents(t, box, telemetry))
				require.NoError(t, f.Close())

				f = open(t, path, o)
				box = boxOf(t, f)
				time.Sleep(23 * time.Hour)
				send(t, box, 2)
				assert.Equal(t, numbersFrom(0, 3), contents(t, box, telemetry))
				time.Sleep(2 * time.Hour)
				send(t, box, 3)
				assert.Equal(t, numbersFrom(2, 2), contents(t, box, telemetry))
				require.NoError(t, f.Close())
			})
		})
	}
}

func TestAMessageThatNoHubTakesIsRefusedAtOnce(t *testing.T) {
	f := open(t, tempFile(t), Options{Interval: time.Nanosecond, MaxBytes: 100 << 10})
	box := boxOf(t, f)
	for _, m := range []hubconn.Message{
		{Body: make([]byte, hubconn.MaxMessageSize+1)},
		{Body: make([]byte, hubconn.MaxMessageSize)}, // with the ID that it would be given
		{Properties: map[string]string{"": "nameless"}},
		{MessageID: "\xff"},
	} {
		err := box.Send(t.Context(), m)
		oneLine(t, err, "send")
		assert.Equal(t, hubconn.Caller, hubconn.ClassOf(err))
	}
	err := box.Send(t.Context(), hubconn.Message{Body: make([]byte, 110<<10)})
	require.ErrorIs(t, err, ErrFull)
	oneLine(t, err, "are more than the 102400 that a lane holds")
	require.NoError(t, box.Send(t.Context()))
	assert.Zero(t, box.Stats().Kept)
}
