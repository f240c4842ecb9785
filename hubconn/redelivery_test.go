// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// sendC2D sends a message that lives for two days.
func (s *stage) sendC2D(body string) {
	s.Helper()
	require.NoError(s, s.hub.SendC2D(s.id(), hubtest.C2D{
		Body: []byte(body), Expiry: s.network.Now().Truncate(24 * time.Hour).Add(48 * time.Hour),
	}))
}

// takes handles messages, each for some time, and returns their bodies when ctx ends.
func (s *stage) takes(
	ctx context.Context, conn *hubconn.Conn, body func(hubconn.Message),
) <-chan []string {
	done := make(chan []string, 1)
	go func() {
		var got []string
		for m, err := range conn.Messages(ctx) {
			if err != nil {
				break
			}
			got = append(got, string(m.Body))
			clear(m.Body) // it is the receiver's
			body(m)
		}
		done <- got
	}()
	return done
}

// delivered are the delivery counts of the messages that the device completed.
func (s *stage) delivered() (counts []int) {
	s.Helper()
	for _, m := range s.hub.SettledC2D() {
		assert.Equal(s, hubtest.OutcomeSuccess, m.Outcome)
		counts = append(counts, m.DeliveryCount)
	}
	return counts
}

func TestARenewalWaitsForALoopBody(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("work")
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(56 * time.Minute) })
		time.Sleep(3 * time.Hour)
		assert.Equal(s, []int{1}, s.delivered())
		cancel()
		assert.Equal(s, []string{"work"}, <-got)
		assert.Equal(s, 4, s.accepted())
		require.NoError(s, conn.Context().Err())
	})
}

// One body after the other, without a pause: the renewal comes between two of them.
func TestARenewalComesBetweenTwoLoopBodies(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(7 * time.Minute) })
		for i := range 200 {
			s.sendC2D(fmt.Sprint(i))
			time.Sleep(7 * time.Minute)
		}
		time.Sleep(time.Hour)
		cancel()
		assert.Len(s, <-got, 200)
		for _, n := range s.delivered() {
			assert.LessOrEqual(s, n, 2, "what is in a body is not sent again")
		}
		require.NoError(s, conn.Context().Err())
	})
}

func TestMessagesAreHandledBetweenTheTriesOfARenewal(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {})
		s.network.RefuseFor(host, time.Hour-time.Minute)
		for range 59 {
			s.sendC2D("x")
			time.Sleep(time.Minute)
			assert.Empty(s, s.counts())
		}
		cancel()
		assert.Len(s, <-got, 59)
		assert.Equal(s, 1, s.accepted())
	})
}

// A body that takes longer than a token lives: the hub sends the message again at each renewal.
func TestAMessageThatComesAgainDuringItsBodyIsAcknowledgedAfterIt(t *testing.T) {
	for name, id := range map[string]string{"by DUP": "", "by MessageID": "17"} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				require.NoError(s, s.hub.SendC2D("dev1", hubtest.C2D{
					Body: []byte("long"), MessageID: id,
					Expiry: s.network.Now().Add(24 * time.Hour),
				}))
				ctx, cancel := context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(4 * time.Hour) })
				time.Sleep(4*time.Hour + time.Minute)
				counts := s.delivered()
				require.Len(s, counts, 1)
				assert.GreaterOrEqual(s, counts[0], 4)
				time.Sleep(4 * time.Hour)
				cancel()
				assert.Equal(s, []string{"long"}, <-got)
				require.NoError(s, conn.Context().Err())
			})
		})
	}
}

// The body finishes when the old link is gone and the new one is not there: the message is
// acknowledged as soon as it comes again.
func TestAMessageWhoseBodyFinishesBetweenTwoLinksIsAcknowledgedWhenItComesAgain(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 1, Delay: time.Minute})
		conn := s.connect()
		s.sendC2D("long")
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {
			time.Sleep(58*time.Minute + 30*time.Second)
			assert.False(s, s.hub.Connected("dev1"))
		})
		time.Sleep(2 * time.Hour)
		assert.Equal(s, []int{2}, s.delivered())
		cancel()
		assert.Equal(s, []string{"long"}, <-got)
	})
}

// The loop ends there too: the message is not sent again before there is another one.
func TestAMessageThatWasFinishedWithBetweenTwoLinksIsKnownToTheNextLoop(t *testing.T) {
	play(t, func(s *stage) {
		s.hub.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 1, Delay: time.Minute})
		conn := s.connect()
		s.sendC2D("long")
		for _, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			time.Sleep(58*time.Minute + 30*time.Second)
			break
		}
		time.Sleep(5 * time.Hour)
		assert.Equal(s, []int{1}, s.counts())
		s.sendC2D("next")
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {})
		time.Sleep(time.Second)
		cancel()
		assert.Equal(s, []string{"next"}, <-got)
		assert.Equal(s, []int{2, 1}, s.delivered())
	})
}

// It had come again over a link that was given up before it came into use: that link takes no
// acknowledgement any more.
func TestAMessageThatCameAgainOverALinkThatFailedIsAcknowledgedOverTheNext(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("long")
		begun := make(chan struct{}, 2)
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) {
			begun <- struct{}{}
			for len(s.hub.Attempts()) < 2 {
				time.Sleep(time.Second)
			}
			time.Sleep(2 * time.Second) // between two tries
			assert.False(s, s.hub.Connected("dev1"))
		})
		<-begun
		_, err := conn.Twin(s.Context())
		require.NoError(s, err)
		s.hub.Inject(hubtest.Fault{On: hubtest.Subscribe, Skip: 1, SubackFailure: true})
		time.Sleep(2 * time.Hour)
		deliveries := s.delivered()
		require.Len(s, deliveries, 1)
		assert.Contains(s, []int{2, 3}, deliveries[0], "the link may have failed before the second")
		cancel()
		assert.Equal(s, []string{"long"}, <-got)
	})
}

// Messages may be equal in everything. Each has a body, however many times it is sent.
func TestEqualMessagesAreAllYielded(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		for range 5 {
			s.sendC2D("toggle")
		}
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(100 * time.Minute) })
		time.Sleep(9 * time.Hour)
		cancel()
		assert.Len(s, <-got, 5)
		assert.Len(s, s.delivered(), 5)
	})
}

// The one that is being handled vanishes at the hub, where an equal one takes its place: before the
// renewal, so that it is sent again as well, or after it.
func TestAMessageIsNotTakenForAnEqualOneThatIsGone(t *testing.T) {
	for name, at := range map[string]time.Duration{
		"before": 10 * time.Minute, "after": 70 * time.Minute,
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				s.sendC2D("toggle")
				ctx, cancel := context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(90 * time.Minute) })
				time.Sleep(at)
				require.Equal(s, 1, s.hub.PurgeC2D("dev1"))
				s.sendC2D("toggle")
				time.Sleep(6 * time.Hour)
				cancel()
				assert.Len(s, <-got, 2)
				assert.Empty(s, s.hub.C2DQueue("dev1"))
			})
		})
	}
}

// A message whose body panicked comes again, also when it equals one whose body has finished.
func TestAMessageWhoseBodyPanickedIsNotTakenForAnother(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("toggle")
		s.sendC2D("toggle")
		assert.Panics(s, func() {
			for range conn.Messages(s.Context()) {
				panic("boom")
			}
		})
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, conn, func(hubconn.Message) { time.Sleep(90 * time.Minute) })
		time.Sleep(8 * time.Hour)
		cancel()
		assert.GreaterOrEqual(s, len(<-got), 2, "the one that panicked, and the other")
		assert.Len(s, s.delivered(), 2)
	})
}

// counts are the delivery counts of the messages in the device's queue.
func (s *stage) counts() (counts []int) {
	for _, m := range s.hub.C2DQueue(s.id()) {
		counts = append(counts, m.DeliveryCount)
	}
	return counts
}

func TestMessagesThatNobodyTakesStayAtTheHub(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc) (more bool){
		"break":   func(context.CancelFunc) bool { return false },
		"context": func(cancel context.CancelFunc) bool { cancel(); return true },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				conn := s.connect()
				for i := range 3 {
					s.sendC2D(fmt.Sprint(i))
				}
				ctx, cancel := context.WithCancel(s.Context())
				defer cancel()
				for _, err := range conn.Messages(ctx) {
					synctest.Wait() // for the rest to arrive
					if err == nil && !end(cancel) {
						break
					}
				}
				s.sendC2D("3")
				time.Sleep(24 * time.Hour)
				require.Greater(s, s.accepted(), 20)
				assert.Equal(s, []int{1, 1, 0}, s.counts(), "two had arrived when the loop ended")
				ctx, cancel = context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) {})
				time.Sleep(time.Minute)
				cancel()
				assert.Equal(s, []string{"1", "2", "3"}, <-got)
				assert.Empty(s, s.counts())
			})
		})
	}
}

// Each message has a loop of its own, through renewals.
func TestALoopThatIsBegunAgainAtOnceGoesOn(t *testing.T) {
	play(t, func(s *stage) {
		s.dialer.TokenTTL = time.Minute
		conn := s.connect()
		for i := range 100 {
			if i%2 == 0 {
				s.sendC2D(fmt.Sprint(i))
				s.sendC2D(fmt.Sprint(i + 1))
			}
			for m, err := range conn.Messages(s.Context()) {
				require.NoError(s, err)
				require.Equal(s, fmt.Sprint(i), string(m.Body))
				time.Sleep(5 * time.Second)
				break
			}
		}
		synctest.Wait()
		assert.Empty(s, s.counts())
		require.NoError(s, conn.Context().Err())
	})
}

// The subscription is given up while there is no link: the hub's session has it still, and the next
// link ends it.
func TestALoopThatEndsDuringARenewalLeavesNoSubscription(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"before CONNACK": {On: hubtest.Connect, Skip: 1, Delay: time.Minute},
		"before SUBACK":  {On: hubtest.Subscribe, Skip: 1, Delay: time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(s *stage) {
				s.hub.Inject(fault)
				conn := s.connect()
				ctx, cancel := context.WithCancel(s.Context())
				got := s.takes(ctx, conn, func(hubconn.Message) {})
				for len(s.hub.Attempts()) < 2 {
					require.NoError(s, conn.Context().Err())
					time.Sleep(time.Second)
				}
				time.Sleep(time.Second)
				cancel()
				assert.Empty(s, <-got)
				time.Sleep(2 * time.Minute)
				s.sendC2D("later")
				time.Sleep(12 * time.Hour)
				assert.Equal(s, []int{0}, s.counts())
				require.NoError(s, conn.Context().Err())
			})
		})
	}
}

// A program that was killed, or one of before an update, has left its subscription at the hub: a
// device that wakes to send and sleeps again must not use up the deliveries of what waits for it.
func TestASubscriptionOfAnEarlierProcessEndsAtTheFirstConnection(t *testing.T) {
	play(t, func(s *stage) {
		s.listened()
		s.sendC2D("0")
		s.sendC2D("1")
		for range 20 {
			conn := s.connect()
			require.NoError(s, conn.Send(s.Context(), hubconn.Message{}))
			require.NoError(s, conn.Close())
			time.Sleep(time.Hour)
		}
		for _, n := range s.counts() {
			assert.LessOrEqual(s, n, 1)
		}
		ctx, cancel := context.WithCancel(s.Context())
		got := s.takes(ctx, s.connect(), func(hubconn.Message) {})
		time.Sleep(time.Second)
		cancel()
		assert.Equal(s, []string{"0", "1"}, <-got)
		assert.Empty(s, s.counts())
	})
}

// The hub that says nothing about the end of a subscription holds nothing up for long.
func TestAnUnsubscribeWithoutAnAnswerIsNotWaitedFor(t *testing.T) {
	play(t, func(s *stage) {
		conn := s.connect()
		s.sendC2D("x")
		for _, err := range conn.Messages(s.Context()) {
			require.NoError(s, err)
			synctest.Wait()
			s.network.Stall(host, true)
			start := time.Now()
			defer func() { assert.LessOrEqual(s, time.Since(start), time.Second) }()
			break
		}
	})
}
