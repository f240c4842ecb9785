// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func TestAMessageFromTheCloudArrivesWithItsProperties(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		conn := s.connect()
		expiry := s.network.Now().Add(time.Hour).Truncate(time.Millisecond).UTC()
		properties := map[string]string{"a b": "c&d=e/f?g#h+i%j", "größe": "10 µm", "empty": ""}
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{
			Body: []byte{0, 1, 255}, Properties: properties, MessageID: "m/1", CorrelationID: "c 1",
			UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", Expiry: expiry,
			Ack: "full",
		}))
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{}))
		var got []hubconn.Message
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			got = append(got, m)
			if len(got) == 2 {
				break
			}
		}
		assert.Equal(s, hubconn.Message{
			Body: []byte{0, 1, 255}, Properties: properties, MessageID: "m/1", CorrelationID: "c 1",
			UserID: "u", ContentType: "application/json", ContentEncoding: "utf-8", Expiry: expiry,
			Ack: "full", To: "/devices/dev1/messages/deviceBound",
		}, got[0])
		assert.Empty(s, got[1].Body)
		assert.Empty(s, got[1].Properties)
		s.eventually("both are acknowledged", func() bool { return len(s.hub.SettledC2D()) == 2 })
		require.NoError(s, conn.Context().Err())
	})
}

func TestAMessageIsAcknowledgedAfterTheLoopBody(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for i := range 3 {
			require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{Body: fmt.Append(nil, i)}))
		}
		seen := 0
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, fmt.Sprint(seen), string(m.Body))
			time.Sleep(10 * time.Minute)
			assert.Len(s, s.hub.SettledC2D(), seen, "not before the body is done")
			if seen++; seen == 2 {
				break
			}
		}
		synctest.Wait()
		assert.Len(s, s.hub.SettledC2D(), 2, "break acknowledges the message of its body")
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, "2", string(m.Body), "the next loop goes on")
			break
		}
	})
}

func TestAMessageWhoseBodyPanicsComesAgain(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{Body: []byte("x")}))
		assert.PanicsWithValue(s, "boom", func() {
			for range conn.Messages(s.Context()) {
				panic("boom")
			}
		})
		synctest.Wait()
		require.Len(s, s.hub.C2DQueue("dev1"), 1)
		require.NoError(s, conn.Context().Err())
		require.NoError(s, conn.Close())
		for m, err := range s.connect().Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, "x", string(m.Body))
			break
		}
		synctest.Wait()
		assert.Empty(s, s.hub.C2DQueue("dev1"))
	})
}

func TestAMessageIsDeliveredAgainWhenTheConnectionEndsInItsBody(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for i := range 2 {
			require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{MessageID: fmt.Sprint(i)}))
		}
		var ids []string
		var end error
		for m, err := range conn.Messages(s.Context()) {
			if err != nil {
				end = err
				continue // the loop ends by itself
			}
			ids = append(ids, m.MessageID)
			s.network.Cut(host)
			<-conn.Context().Done()
		}
		s.is(end, hubconn.Unreachable)
		assert.ErrorIs(s, end, context.Cause(conn.Context()))
		assert.Equal(s, []string{"0"}, ids, "what is left cannot be acknowledged")
		for m, err := range s.connect().Messages(s.Context()) {
			require.NoError(s, err)
			if ids = append(ids, m.MessageID); len(ids) == 3 {
				break
			}
		}
		assert.Equal(s, []string{"0", "0", "1"}, ids)
	})
}

// Every message arrives, in spite of renewals that fall into loop bodies; each is acknowledged in
// the end.
func TestMessagesGoOnAfterARenewal(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		defer cancel()
		got := map[string]int{}
		done := make(chan error, 1)
		go func() {
			for m, err := range conn.Messages(ctx) {
				if err != nil {
					done <- err
					return
				}
				got[m.MessageID]++
				time.Sleep(7 * time.Second)
			}
		}()
		for i := range 100 {
			require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{MessageID: fmt.Sprint(i)}))
			time.Sleep(9 * time.Second)
		}
		time.Sleep(10 * time.Minute)
		cancel()
		assert.ErrorIs(s, <-done, context.Canceled)
		assert.Len(s, got, 100)
		assert.Empty(s, s.hub.C2DQueue("dev1"))
		assert.Greater(s, s.accepted(), 15)
		require.NoError(s, conn.Context().Err())
	})
}

func TestTheLoopEndsWithItsContextAndTheConnectionStays(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		cause := errors.New("enough")
		ctx, cancel := context.WithCancelCause(s.Context())
		time.AfterFunc(time.Minute, func() { cancel(cause) })
		errs := 0
		for _, err := range conn.Messages(ctx) {
			e := s.is(err, hubconn.Unreachable)
			assert.Equal(s, "messages", e.Op)
			assert.ErrorIs(s, err, cause)
			errs++
		}
		assert.Equal(s, 1, errs)
		require.NoError(s, conn.Context().Err())
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
	})
}

func TestThereIsOneLoopOverMessagesAtATime(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{}))
		for _, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			for _, err := range conn.Messages(s.Context()) {
				s.is(err, hubconn.Caller)
			}
			break
		}
	})
}

// listened leaves a session with a subscription to messages at the hub, as a process that was
// killed does.
func (s *stage) listened() {
	s.Helper()
	conn := s.connect()
	require.NoError(s, s.hub.SendC2D(s.id(), hubtest.C2D{Body: []byte("last words")}))
	for _, err := range conn.Messages(s.Context()) {
		if err == nil {
			synctest.Wait()
			s.network.Cut(host)
			<-conn.Context().Done()
		}
	}
	s.hub.PurgeC2D(s.id())
	synctest.Wait()
}

// The hub keeps the subscription of a session, and sends what is due at once: before the program
// has asked for it.
func TestMessagesThatComeBeforeTheLoopWaitForIt(t *testing.T) {
	play(t, func(s *stage) {
		s.listened()
		for i := range 50 {
			require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{MessageID: fmt.Sprint(i)}))
		}
		conn := s.connect()
		time.Sleep(time.Hour / 2)
		assert.Len(s, s.hub.C2DQueue("dev1"), 50, "none acknowledged")
		n := 0
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, fmt.Sprint(n), m.MessageID)
			if n++; n == 50 {
				break
			}
		}
		synctest.Wait()
		assert.Empty(s, s.hub.C2DQueue("dev1"))
	})
}

func TestTheLargestMessageFromTheCloudArrives(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		body := []byte(strings.Repeat("x", 64<<10))
		require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{Body: body}))
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, body, m.Body)
			break
		}
	})
}

func TestAModuleHasInputsAndOutputs(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		s.becomesModule()
		conn := s.connect()
		require.NoError(s, conn.Send(
			s.Context(), hubconn.Message{Body: []byte("hot"), Output: "alarm", Component: "sensor"},
		))
		message := s.hub.Messages()[0]
		assert.Equal(s, "mod1", message.ModuleID)
		assert.Equal(s, map[string]string{"$.on": "alarm", "$.sub": "sensor"}, message.System)

		go func() {
			s.eventually("listening", func() bool {
				return s.hub.SendC2D("dev1/mod1", hubtest.C2D{
					Body: []byte("hi"), Input: "in 1", Properties: map[string]string{"a": "b"},
				}) == nil
			})
		}()
		for m, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			assert.Equal(s, "in 1", m.Input)
			assert.Equal(s, "hi", string(m.Body))
			assert.Equal(s, map[string]string{"a": "b"}, m.Properties)
			break
		}
	})
}

func TestADeviceHasNoOutput(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.is(conn.Send(s.Context(), hubconn.Message{Output: "o"}), hubconn.Caller)
		for _, text := range []string{"\x00", "\xff"} {
			s.is(
				conn.Send(s.Context(), hubconn.Message{Properties: map[string]string{"a": text}}),
				hubconn.Caller,
			)
			s.is(
				conn.Send(s.Context(), hubconn.Message{Properties: map[string]string{text: "a"}}),
				hubconn.Caller,
			)
			s.is(conn.Send(s.Context(), hubconn.Message{MessageID: text}), hubconn.Caller)
		}
		assert.Empty(s, s.hub.Messages())
		require.NoError(s, conn.Context().Err())
	})
}

func TestASubscriptionThatIsRefusedIsAnErrorAndNoMore(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true, Times: 3})
		for _, err := range conn.Messages(s.Context()) {
			s.is(err, hubconn.Server)
		}
		s.is(conn.HandleMethods(s.Context(), hubconn.Methods{}), hubconn.Server)
		_, err := conn.Twin(s.Context())
		s.is(err, hubconn.Server)
		_, err = conn.Twin(s.Context())
		require.NoError(s, err)
		require.NoError(s, conn.Context().Err())
	})
}

func TestARenewalThatCannotRestoreASubscriptionEndsTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		_, err := conn.Twin(s.Context())
		require.NoError(s, err)
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true, Times: -1})
		e := s.ended(conn, hubconn.Server)
		assert.Equal(s, "renew", e.Op)
	})
}
