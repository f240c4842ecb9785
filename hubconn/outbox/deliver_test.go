// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/devicetest"
)

func TestWhatIsKeptIsDeliveredInItsOrderAlarmsFirst(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		f := open(t, path, Options{})
		box := boxOf(t, f)
		for i := range 200 {
			send(t, box, i)
			if i%50 == 0 {
				require.NoError(t, box.SendAlarm(t.Context(), numbered(1000+i)))
			}
		}
		assert.Equal(t, 204, box.Stats().Kept)
		assert.Equal(t, 4, box.Stats().KeptAlarms)
		stop := runs(t, sim, box)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		send(t, box, 200, 201)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		stop()

		got, again := first(sim.Hub.Messages())
		want := append([]string{"1000", "1050", "1100", "1150"}, numbersFrom(0, 202)...)
		assert.Equal(t, want, got)
		assert.Zero(t, again)
		s := box.Stats()
		assert.EqualValues(t, 206, s.Accepted)
		assert.EqualValues(t, 206, s.Delivered)
		assert.Zero(t, s.Resent)
		assert.Zero(t, s.KeptBytes)
		require.NoError(t, f.Close())
		assert.Empty(t, contents(t, boxOf(t, open(t, path, Options{})), telemetry))
	})
}

func TestAMessageHasTheSameIDAtEachDeliveryAndKeepsItsOwn(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		f := open(t, path, quickly)
		box := boxOf(t, f)
		created := time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC)
		require.NoError(t, box.Send(t.Context(), hubconn.Message{
			Body: []byte{0, 255}, MessageID: "own", CorrelationID: "c", ContentType: "text/plain",
			ContentEncoding: "utf-8", Component: "room", CreationTime: created,
			Properties: map[string]string{"a": "1", "größe": ""},
		}, numbered(1), numbered(2)))
		sim.Hub.Inject(hubtest.Fault{
			On: hubtest.Publish, Times: 5, Skip: 2, Cut: true, Stored: true,
		})
		stop := runs(t, sim, box)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		stop()

		ids := map[string]map[string]bool{}
		for _, m := range sim.Hub.Messages() {
			body := string(m.Body)
			if ids[body] == nil {
				ids[body] = map[string]bool{}
			}
			ids[body][m.System["$.mid"]] = true
		}
		require.Len(t, ids, 3)
		for body, seen := range ids {
			assert.Len(t, seen, 1, body)
		}
		assert.True(t, ids["\x00\xff"]["own"])
		assert.NotEqual(t, ids["1"], ids["2"])
		assert.Greater(t, len(sim.Hub.Messages()), 3)
		assert.EqualValues(t, len(sim.Hub.Messages())-3, box.Stats().Resent)
		m := sim.Hub.Messages()[0]
		assert.Equal(t, map[string]string{"a": "1", "größe": ""}, m.Properties)
		assert.Equal(t, map[string]string{
			"$.mid": "own", "$.cid": "c", "$.ct": "text/plain", "$.ce": "utf-8", "$.sub": "room",
			"$.ctime": "2026-03-01T12:00:00.005Z",
		}, m.System)
	})
}

func TestWhatIsKeptOutlivesTheProcess(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		f := open(t, path, Options{})
		send(t, boxOf(t, f), 0, 1, 2)
		other, err := f.Outbox("another")
		require.NoError(t, err)
		send(t, other, 100)
		require.NoError(t, f.Close())

		f = open(t, path, Options{})
		devices, err := f.Devices()
		require.NoError(t, err)
		assert.ElementsMatch(t, []string{device, "another"}, devices)
		box := boxOf(t, f)
		assert.Equal(t, 3, box.Stats().Kept)
		send(t, box, 3)
		stop := runs(t, sim, box)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		stop()
		got, again := first(sim.Hub.Messages())
		assert.Equal(t, numbersFrom(0, 4), got)
		assert.Zero(t, again)
		other, err = f.Outbox("another")
		require.NoError(t, err)
		assert.Equal(t, []string{"100"}, contents(t, other, telemetry))
	})
}

// A device has no Output: Send cannot know what it will be, and its connection refuses it.
func TestAMessageThatTheHubCanNeverTakeIsDroppedAndTold(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		var log bytes.Buffer
		f := open(t, path, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		box := boxOf(t, f)
		send(t, box, 0)
		require.NoError(t, box.Send(t.Context(), hubconn.Message{
			Body: []byte("canary-body"), Output: "alerts", MessageID: "poison",
		}))
		send(t, box, 1)
		stop := runs(t, sim, box)
		eventually(t, "all delivered", func() bool { return box.Stats().Kept == 0 })
		stop()
		got, _ := first(sim.Hub.Messages())
		assert.Equal(t, []string{"0", "1"}, got)
		assert.EqualValues(t, 1, box.Stats().DroppedRefused)
		assert.EqualValues(t, 1, box.Stats().Dropped())
		require.NoError(t, f.Close())
		assert.Contains(t, log.String(), "messages dropped")
		assert.Contains(t, log.String(), "message_id=poison")
		assert.Contains(t, log.String(), "the hub would not take the message")
		assert.NotContains(t, log.String(), "canary")
	})
}

func TestDeliverEndsWithItsContextAndItsConnection(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		box := boxOf(t, open(t, path, Options{}))
		conn, err := sim.Device.Connect(t.Context())
		require.NoError(t, err)
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		results := make(chan error)
		for range 2 { // the second waits for the first
			go func() { results <- box.Deliver(ctx, conn) }()
		}
		synctest.Wait()
		cancel(cause)
		assert.Equal(t, cause, <-results)
		assert.Equal(t, cause, <-results)
		go func() { results <- box.Deliver(t.Context(), conn) }()
		synctest.Wait()
		sim.Hub.Disconnect(device)
		assert.Equal(t, hubconn.Unreachable, hubconn.ClassOf(<-results))
		require.NoError(t, conn.Close())
		assert.Equal(t, hubconn.Unreachable, hubconn.ClassOf(box.Deliver(t.Context(), conn)))
	})
}

func TestDeliverEndsWhenTheFileIsClosed(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		f := open(t, path, Options{})
		box := boxOf(t, f)
		conn, err := sim.Device.Connect(t.Context())
		require.NoError(t, err)
		result := make(chan error)
		go func() { result <- box.Deliver(t.Context(), conn) }()
		synctest.Wait()
		require.NoError(t, f.Close())
		require.ErrorIs(t, <-result, ErrClosed)
		require.ErrorIs(t, box.Deliver(t.Context(), conn), ErrClosed)
		require.ErrorIs(t, box.Send(t.Context(), numbered(1)), ErrClosed)
		_, err = f.Outbox("another")
		require.ErrorIs(t, err, ErrClosed)
		require.NoError(t, conn.Close())
	})
}

// An alarm overtakes all telemetry that is not in flight.
func TestAnAlarmOvertakesWhatIsKept(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		sim := devicetest.Start(t)
		box := boxOf(t, open(t, path, Options{Interval: time.Nanosecond, InFlight: 4}))
		var messages []hubconn.Message
		for i := range 1000 {
			messages = append(messages, numbered(i))
		}
		require.NoError(t, box.Send(t.Context(), messages...))
		sim.Hub.Inject(hubtest.Fault{On: hubtest.Publish, Times: -1, Delay: time.Second})
		stop := runs(t, sim, box)
		eventually(t, "some delivered", func() bool { return box.Stats().Delivered > 100 })
		had := len(sim.Hub.Messages())
		require.NoError(t, box.SendAlarm(t.Context(), hubconn.Message{Body: []byte("alarm")}))
		kept := sim.Network.Now()
		eventually(t, "the alarm delivered", func() bool { return box.Stats().KeptAlarms == 0 })
		all := sim.Hub.Messages()
		at := slices.IndexFunc(all, func(m hubtest.Message) bool {
			return string(m.Body) == "alarm"
		})
		assert.GreaterOrEqual(t, at, had)
		// What was in flight takes a second, and so does the alarm, beside up to three others. The
		// hub has what comes to it at one moment in any order.
		assert.LessOrEqual(t, all[at].Time.Sub(kept), 2*time.Second, "behind what was in flight")
		assert.Less(t, at, had+3*4)
		stop()
	})
}

func TestManyDevicesShareAFile(t *testing.T) {
	path := tempFile(t)
	synctest.Test(t, func(t *testing.T) {
		const devices, each = 20, 8
		sim := devicetest.Start(t)
		f := open(t, path, quickly)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		var boxes []*Outbox
		for d := range devices {
			id := fmt.Sprintf("sensor-%d", d)
			box, err := f.Outbox(id)
			require.NoError(t, err)
			boxes = append(boxes, box)
			dev := sim.Enroll(id)
			go func() {
				_ = dev.Run(ctx, box.Deliver)
				ended <- struct{}{}
			}()
		}
		for n := range each {
			for _, box := range boxes {
				send(t, box, n)
			}
		}
		eventually(t, "all delivered", func() bool {
			for _, box := range boxes {
				if box.Stats().Delivered < each {
					return false
				}
			}
			return true
		})
		cancel()
		for range devices {
			<-ended
		}
		got := map[string][]string{}
		ids := map[string]bool{}
		for _, m := range sim.Hub.Messages() {
			got[m.DeviceID] = append(got[m.DeviceID], string(m.Body))
			ids[m.System["$.mid"]] = true
		}
		require.Len(t, got, devices)
		for id, bodies := range got {
			assert.Equal(t, numbersFrom(0, each), bodies, id)
		}
		assert.Len(t, ids, devices*each)
		assert.False(t, strings.Contains(f.id, "-"))
	})
}
