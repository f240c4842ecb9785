// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func numbered(n int) hubconn.Message { return hubconn.Message{Body: fmt.Append(nil, n)} }

// bodies are those of all messages that the hub has, and of each the first time alone.
func (s *stage) bodies() (all, first []string) {
	seen := map[string]bool{}
	for _, m := range s.hub.Messages() {
		body := string(m.Body)
		all = append(all, body)
		if !seen[body] {
			first = append(first, body)
		}
		seen[body] = true
	}
	return all, first
}

func numbers(n int) (all []string) {
	for i := range n {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

func TestASequenceKeepsItsOrderWithManyInFlight(t *testing.T) {
	playEverywhere(t, func(s *stage) {
		const messages, atOnce = 500, 100 // more than the connection's own MaxInFlight
		conn := s.connect()
		sequence, err := conn.Sequence(s.Context())
		require.NoError(s, err)
		results := make(chan error)
		room := make(chan struct{}, atOnce)
		go func() {
			for i := range messages {
				room <- struct{}{}
				sending, err := sequence.Send(numbered(i))
				if !assert.NoError(s, err) {
					return
				}
				go func() { results <- sending.Wait(s.Context()) }()
			}
		}()
		for range messages {
			require.NoError(s, <-results)
			<-room
		}
		all, _ := s.bodies()
		assert.Equal(s, numbers(messages), all)
		stats := conn.Stats()
		assert.EqualValues(s, messages, stats.Sent)
		assert.EqualValues(s, messages, stats.Acknowledged)
		assert.Zero(s, stats.InFlight)
	})
}

// sendInOrder sends messages as the documentation of Sequence says, and returns how many passes
// that took.
func sendInOrder(s *stage, conn *hubconn.Conn, messages int, pause time.Duration) (passes int) {
	acknowledged := 0
	for acknowledged < messages {
		passes++
		sequence, err := conn.Sequence(s.Context())
		require.NoError(s, err)
		var sent []*hubconn.Sending
		for next := acknowledged; next < messages; next++ {
			sending, err := sequence.Send(numbered(next))
			if err != nil {
				require.NotEqual(s, hubconn.Caller, hubconn.ClassOf(err))
				break
			}
			sent = append(sent, sending)
			time.Sleep(pause)
		}
		over := false
		for _, sending := range sent {
			err := sending.Wait(s.Context())
			if over = over || err != nil; !over {
				acknowledged++
			}
		}
	}
	return passes
}

func TestARenewalThatLeavesMessagesBehindEndsTheSequenceAndNotTheConnection(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL, s.dialer.AckTimeout = time.Minute, time.Hour
		// The hub has some messages whose acknowledgement never comes: a renewal waits for 5 s, and
		// leaves them.
		for range 5 {
			s.hub.Inject(hubtest.Fault{On: hubtest.Publish, Skip: 60, NoAnswer: true, Stored: true})
		}
		conn := s.connect()
		passes := sendInOrder(s, conn, 600, time.Second)
		assert.Greater(s, passes, 3)
		require.NoError(s, conn.Context().Err())
		all, first := s.bodies()
		assert.Equal(s, numbers(600), first)
		assert.Greater(s, len(all), 600, "some came twice")
	})
}

func TestAMessageThatIsRefusedIsNoEndOfTheSequence(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		sequence, err := conn.Sequence(s.Context())
		require.NoError(s, err)
		for _, m := range []hubconn.Message{
			{Body: make([]byte, hubconn.MaxMessageSize+1)},
			{Properties: map[string]string{"": "nameless"}},
			{Output: "a device has none"},
		} {
			_, err := sequence.Send(m)
			s.is(err, hubconn.Caller)
			s.is(m.Check(s.at), hubconn.Caller)
		}
		sending, err := sequence.Send(numbered(1))
		require.NoError(s, err)
		require.NoError(s, sending.Wait(s.Context()))
		ok := hubconn.Message{Output: "out"}
		require.NoError(s, ok.Check(hubconn.Hub{DeviceID: "dev1", ModuleID: "mod1"}))
	})
}

func TestASequenceEndsWithItsConnectionAndItsContext(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ended, cancel := context.WithCancel(s.Context())
		cancel()
		_, err := conn.Sequence(ended)
		assert.ErrorIs(s, err, context.Canceled)

		sequence, err := conn.Sequence(s.Context())
		require.NoError(s, err)
		s.hub.Inject(hubtest.Fault{On: hubtest.Publish, Cut: true})
		sending, err := sequence.Send(numbered(1))
		require.NoError(s, err)
		s.is(sending.Wait(s.Context()), hubconn.Unreachable)
		<-conn.Context().Done()
		_, err = sequence.Send(numbered(2))
		s.is(err, hubconn.Unreachable)
		_, err = conn.Sequence(s.Context())
		s.is(err, hubconn.Unreachable)
	})
}
