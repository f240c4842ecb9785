// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func TestAMessageArrivesWithItsProperties(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		properties := map[string]string{
			"level": "warm & rising", "a=b": "c/d?e#f+g%h", "größe": "10 µm", "empty": "",
			"$.schema": "s1", "~": "-._~",
		}
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{
			Body: []byte{0, 1, 255}, MessageID: "m 1", CorrelationID: "c/1",
			ContentType:     "application/json;charset=utf-8",
			ContentEncoding: "utf-8", Component: "thermostat1",
			CreationTime: time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.FixedZone("", 3600)),
			Properties:   properties,
		}))
		require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
		messages := s.hub.Messages()
		require.Len(s, messages, 2)
		got := messages[0]
		assert.Equal(s, []byte{0, 1, 255}, got.Body)
		assert.EqualValues(s, 1, got.QoS)
		delete(properties, "$.schema")
		assert.Equal(s, properties, got.Properties)
		assert.Equal(s, map[string]string{
			"$.mid": "m 1", "$.cid": "c/1", "$.ct": "application/json;charset=utf-8",
			"$.ce": "utf-8", "$.ctime": "2026-03-01T11:00:00.123Z", "$.sub": "thermostat1",
			"$.schema": "s1",
		}, got.System)
		assert.Empty(s, messages[1].Body)
		assert.Empty(s, messages[1].Properties)
		assert.Empty(s, messages[1].System)
	})
}

func TestAMessageThatIoTHubWouldNotTakeIsRefusedAndNotSent(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for name, m := range map[string]hubconn.Message{
			"body":               {Body: make([]byte, hubconn.MaxMessageSize+1)},
			"body and property":  {Body: make([]byte, hubconn.MaxMessageSize), Properties: map[string]string{"a": ""}},
			"body and ID":        {Body: make([]byte, hubconn.MaxMessageSize), MessageID: "1"},
			"topic":              {Properties: map[string]string{"a": strings.Repeat("x", 65536)}},
			"topic when encoded": {Properties: map[string]string{"a": strings.Repeat(" ", 30000)}},
			"nameless property":  {Properties: map[string]string{"": "x"}},
			"two message IDs":    {MessageID: "1", Properties: map[string]string{"$.mid": "2"}},
			"hidden message ID":  {Properties: map[string]string{"$.mid": "2"}},
		} {
			e := s.is(conn.Send(s.Context(), m), hubconn.Caller)
			assert.Equal(s, "send", e.Op, name)
		}
		require.NoError(
			s, conn.Send(s.Context(), hubconn.Message{Body: make([]byte, hubconn.MaxMessageSize)}),
		)
		assert.NoError(s, conn.Context().Err())
		assert.Len(s, s.hub.Messages(), 1)
	})
}

func TestSendsInFlightAreBounded(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.MaxInFlight = 4
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Stored: true, Times: -1})
		conn := s.connect()
		results := make(chan error, 10)
		for range 9 {
			go func() { results <- conn.Send(s.Context(), hubconn.Message{Body: []byte("x")}) }()
		}
		time.Sleep(time.Second)
		assert.Len(s, s.hub.Messages(), 4)

		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		err := conn.Send(ctx, hubconn.Message{})
		s.is(err, hubconn.Unreachable)
		assert.ErrorIs(s, err, context.DeadlineExceeded)
		assert.NoError(s, conn.Context().Err(), "the connection stays")

		s.hub.Disconnect("dev1")
		for range 9 {
			s.is(<-results, hubconn.Unreachable)
		}
		assert.Len(s, s.hub.Messages(), 4)
	})
}

func TestTheDefaultIs32InFlight(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Stored: true, Times: -1})
		conn := s.connect()
		var sending sync.WaitGroup
		for range 100 {
			sending.Go(func() { _ = conn.Send(s.Context(), hubconn.Message{}) })
		}
		time.Sleep(time.Second)
		assert.Len(s, s.hub.Messages(), 32)
		require.NoError(s, conn.Close())
		sending.Wait()
	})
}

func TestSendFailsWhenTheLinkIsCutMidFlight(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"cut before it is stored": {On: hubtest.Publish, Cut: true},
		"cut after it is stored":  {On: hubtest.Publish, Cut: true, Stored: true},
		"closed":                  {On: hubtest.Publish, Close: true},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.Inject(fault)
				conn := s.connect()
				err := conn.Send(s.Context(), hubconn.Message{Body: []byte("x")})
				assert.Error(s, conn.Context().Err(), "the context is done before Send returns")
				e := s.is(err, hubconn.Unreachable)
				assert.Equal(s, "send", e.Op)
				assert.ErrorIs(s, err, context.Cause(conn.Context()))
				assert.Equal(s, "connection", s.ended(conn, hubconn.Unreachable).Op)

				err = conn.Send(s.Context(), hubconn.Message{})
				s.is(err, hubconn.Unreachable)
			})
		})
	}
}

func TestAMessageThatIsNeverAcknowledgedEndsTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true})
		conn := s.connect()
		start := time.Now()
		s.is(conn.Send(s.Context(), hubconn.Message{}), hubconn.Unreachable)
		assert.Equal(s, 4*time.Minute, time.Since(start))
		s.ended(conn, hubconn.Unreachable)
	})
}

func TestSendWithADeadContextSendsNothing(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		cause := errors.New("too late")
		ctx, cancel := context.WithCancelCause(s.Context())
		cancel(cause)
		assert.ErrorIs(s, conn.Send(ctx, hubconn.Message{}), cause)
		time.Sleep(time.Second)
		assert.Empty(s, s.hub.Messages())
		assert.NoError(s, conn.Context().Err())
	})
}

func TestTheBodyIsTheCallersAgainWhenSendReturns(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, Delay: time.Minute})
		conn := s.connect()
		body := []byte(strings.Repeat("x", 100000))
		ctx, cancel := context.WithTimeout(s.Context(), time.Second)
		defer cancel()
		assert.Error(s, conn.Send(ctx, hubconn.Message{Body: body}))
		clear(body) // the race detector watches
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		assert.Equal(s, strings.Repeat("x", 100000), string(s.hub.Messages()[0].Body))
	})
}
