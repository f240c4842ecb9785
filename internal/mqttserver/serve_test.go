// SPDX-License-Identifier: Apache-2.0

package mqttserver

import (
	"context"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/memnet"
)

func TestHandlerSeesWhatTheClientSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got Connect
		v := &service{connect: func(_ context.Context, s *Session, c *Connect) (Connack, error) {
			got = *c
			assert.Empty(t, s.Client().Password, "a session keeps no password")
			return Connack{SessionPresent: true}, nil
		}}
		c := dial(t, v, Options{})
		p := connectPacket()
		p.CleanSession, p.Keepalive = false, 240
		p.UsernameFlag, p.Username, p.PasswordFlag, p.Password = true, "hub/dev1", true,
			[]byte("secret")
		p.WillFlag, p.WillTopic, p.WillMessage, p.WillQos = true, "gone", []byte("bye"), 1
		c.send(p)
		ack := c.receive().(*packets.ConnackPacket)
		assert.True(t, ack.SessionPresent)
		assert.Equal(t, Connect{
			ClientID: "dev1", Username: "hub/dev1", HasUsername: true, Password: []byte("secret"),
			HasPassword: true, KeepAlive: 4 * time.Minute,
			Will: &Message{Topic: "gone", Payload: []byte("bye"), QoS: 1},
		}, got)
		c.leave()
		assert.Equal(t, []error{nil}, v.ended)
	})
}

func TestRefusedClientIsToldAndDisconnected(t *testing.T) {
	for _, code := range []byte{1, 2, 3, 4, 5, 6, 0x87, 0xff} {
		synctest.Test(t, func(t *testing.T) {
			v := &service{connect: func(context.Context, *Session, *Connect) (Connack, error) {
				return Connack{ReturnCode: code, SessionPresent: true}, nil
			}}
			c := dial(t, v, Options{})
			c.send(connectPacket())
			ack := c.receive().(*packets.ConnackPacket)
			assert.Equal(t, code, ack.ReturnCode)
			assert.False(t, ack.SessionPresent)
			assert.ErrorIs(t, c.end(), ErrRefused)
			assert.Len(t, v.ended, 1)
		})
	}
}

func TestOtherProtocolLevelsAreRefused(t *testing.T) {
	for name, level := range map[string]byte{"MQTT": 5, "MQIsdp": 3} {
		synctest.Test(t, func(t *testing.T) {
			c := dial(t, &service{}, Options{})
			p := connectPacket()
			p.ProtocolName, p.ProtocolVersion = name, level
			c.send(p)
			assert.Equal(t, BadProtocolVersion, c.receive().(*packets.ConnackPacket).ReturnCode)
			assert.ErrorIs(t, c.end(), ErrRefused)
		})
	}
}

// A CONNECT of MQTT 5 has properties before its client ID (MQTT 5 §3.1.2.11).
func TestACONNECTOfMQTT5IsRefusedByItsLevel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := dial(t, &service{}, Options{})
		c.raw(
			0x10, 28, 0, 4, 'M', 'Q', 'T', 'T', 5, 0x82, 0, 60,
			5, 0x11, 0, 0, 0, 0, // the session's expiry
			0, 4, 'd', 'e', 'v', '1', 0, 4, 'u', 's', 'e', 'r',
		)
		assert.Equal(t, BadProtocolVersion, c.receive().(*packets.ConnackPacket).ReturnCode)
		assert.ErrorIs(t, c.end(), ErrRefused)
	})
}

func TestSlowConnectIsAnsweredWhenItIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &service{connect: func(context.Context, *Session, *Connect) (Connack, error) {
			time.Sleep(time.Minute)
			return Connack{ReturnCode: ServerUnavailable}, nil
		}}
		c := dial(t, v, Options{})
		p := connectPacket()
		p.Keepalive = 10 // it does not run while the server is the silent one
		c.send(p)
		start := time.Now()
		assert.Equal(t, ServerUnavailable, c.receive().(*packets.ConnackPacket).ReturnCode)
		assert.Equal(t, time.Minute, time.Since(start))
		assert.ErrorIs(t, c.end(), ErrRefused)
	})
}

func TestClientThatLeavesEndsAWaitingConnect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &service{connect: func(ctx context.Context, _ *Session, _ *Connect) (Connack, error) {
			<-ctx.Done() // never answers
			return Connack{}, context.Cause(ctx)
		}}
		c := dial(t, v, Options{})
		c.send(connectPacket())
		c.silent(time.Hour)
		require.NoError(t, c.nc.Close())
		assert.ErrorIs(t, <-c.served, io.EOF)
	})
}

func TestKeepAlive(t *testing.T) {
	for _, test := range []struct {
		name  string
		asked uint16
		cap   time.Duration
		want  time.Duration
	}{
		{"one and a half times what was asked for", 60, 0, 90 * time.Second},
		{"within the cap", 60, time.Hour, 90 * time.Second},
		{"above the cap", 3600, 1767 * time.Second, 1767 * time.Second},
		{"none asked for, but a cap", 0, 1767 * time.Second, 1767 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := &service{}
				c := dial(t, v, Options{MaxIdle: test.cap})
				p := connectPacket()
				p.Keepalive = test.asked
				c.send(p)
				c.receive()
				for range 3 { // any packet will do
					time.Sleep(test.want - time.Second)
					c.send(packets.NewControlPacket(packets.Pingreq))
					assert.IsType(t, &packets.PingrespPacket{}, c.receive())
				}
				start := time.Now()
				assert.ErrorIs(t, c.end(), ErrKeepAlive)
				assert.Equal(t, test.want, time.Since(start))
				require.Len(t, v.ended, 1)
				assert.ErrorIs(t, v.ended[0], ErrKeepAlive)
			})
		})
	}
	t.Run("none asked for, and no cap", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := connected(t, &service{}, Options{})
			c.silent(1000 * time.Hour)
			c.leave()
		})
	})
}

func TestPublish(t *testing.T) {
	t.Run("is acknowledged at QoS 1 only", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var got []Message
			v := &service{publish: func(_ context.Context, _ *Session, m *Incoming) error {
				got = append(got, m.Message)
				return m.Ack() // early; not sent twice
			}}
			c := connected(t, v, Options{})
			c.send(publishPacket("a", 0, 0, ""))
			again := publishPacket("b", 1, 77, "hello")
			again.Dup = true
			c.send(again)
			assert.Equal(t, uint16(77), c.receive().(*packets.PubackPacket).MessageID)
			c.silent(time.Second)
			assert.Equal(t, []Message{{Topic: "a", Payload: []byte{}}, {
				Topic: "b", Payload: []byte("hello"), QoS: 1, Duplicate: true,
			}}, got)
			c.leave()
		})
	})
	t.Run("is acknowledged before the answer, if the handler says so", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := &service{publish: func(ctx context.Context, s *Session, m *Incoming) error {
				if err := m.Ack(); err != nil {
					return err
				}
				_, err := s.Publish(ctx, Message{Topic: "answer", QoS: 1})
				return err
			}}
			c := connected(t, v, Options{})
			c.send(publishPacket("question", 1, 1, ""))
			assert.IsType(t, &packets.PubackPacket{}, c.receive())
			assert.Equal(t, "answer", c.receive().(*packets.PublishPacket).TopicName)
			c.leave()
		})
	})
	t.Run("may be acknowledged late, or never, while the session goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			v := &service{publish: func(_ context.Context, s *Session, m *Incoming) error {
				m.Withhold()
				if m.Topic == "late" {
					s.Go(func(context.Context) error {
						time.Sleep(time.Minute)
						return m.Ack()
					})
				}
				return nil
			}}
			c := connected(t, v, Options{})
			start := time.Now()
			c.send(
				publishPacket("never", 1, 1, ""), publishPacket("late", 1, 2, ""),
				packets.NewControlPacket(packets.Pingreq),
			)
			assert.IsType(t, &packets.PingrespPacket{}, c.receive())
			assert.Equal(t, uint16(2), c.receive().(*packets.PubackPacket).MessageID)
			assert.Equal(t, time.Minute, time.Since(start))
			c.leave()
		})
	})
	t.Run("that the handler does not like ends the session unacknowledged", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			wrong := errors.New("no such topic")
			v := &service{
				publish: func(context.Context, *Session, *Incoming) error { return wrong },
			}
			c := connected(t, v, Options{})
			c.send(publishPacket("elsewhere", 1, 1, ""))
			assert.ErrorIs(t, c.end(), wrong)
		})
	})
}

func TestSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var gone []string
		v := &service{
			subscribe: func(_ context.Context, _ *Session, r *Subscribe) error {
				switch r.Filters[0].Topic {
				case "mixed":
					return r.Reply(0, SubscribeFailure)
				case "ignored":
					r.Withhold()
				}
				return nil
			},
			unsubscribe: func(_ context.Context, _ *Session, filters []string) error {
				gone = filters
				return nil
			},
		}
		c := connected(t, v, Options{})
		c.send(subscribePacket(9, 2, "a", "b/#"))
		ack := c.receive().(*packets.SubackPacket)
		assert.Equal(t, uint16(9), ack.MessageID)
		assert.Equal(t, []byte{1, 1}, ack.ReturnCodes, "QoS 2 is granted as 1")
		c.send(subscribePacket(10, 0, "mixed", "other"))
		assert.Equal(t, []byte{0, 0x80}, c.receive().(*packets.SubackPacket).ReturnCodes)
		c.send(subscribePacket(11, 0, "ignored"))
		c.silent(time.Hour)
		u := packets.NewControlPacket(packets.Unsubscribe).(*packets.UnsubscribePacket)
		u.MessageID, u.Topics = 12, []string{"a", "mixed"}
		c.send(u)
		assert.Equal(t, uint16(12), c.receive().(*packets.UnsubackPacket).MessageID)
		assert.Equal(t, []string{"a", "mixed"}, gone)
		c.leave()
	})
}

func TestDeliveryEndsWithThePuback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sessions := make(chan *Session, 1)
		v := &service{connected: func(ctx context.Context, s *Session) error {
			sessions <- s
			d, err := s.Publish(ctx, Message{Topic: "first", QoS: 1})
			if err != nil {
				return err
			}
			<-d.Acked() // a handler may wait: acknowledgements are read meanwhile
			return nil
		}}
		c := connected(t, v, Options{})
		s := <-sessions
		first := c.receive().(*packets.PublishPacket)
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = first.MessageID
		c.send(ack, ack) // the second one is nobody's

		quick, err := s.Publish(t.Context(), Message{Topic: "at most once"})
		require.NoError(t, err)
		<-quick.Acked()
		lost, err := s.Publish(t.Context(), Message{Topic: "lost", QoS: 1, Duplicate: true})
		require.NoError(t, err)
		c.receive()
		p := c.receive().(*packets.PublishPacket)
		assert.True(t, p.Dup)
		assert.NotEqual(t, first.MessageID, p.MessageID)
		_, err = s.Publish(t.Context(), Message{QoS: 2})
		assert.Error(t, err)

		c.leave()
		<-s.Context().Done()
		select {
		case <-lost.Acked():
			t.Error("acknowledged by nobody")
		default:
		}
		_, err = s.Publish(t.Context(), Message{Topic: "too late"})
		assert.Error(t, err)
	})
}

func TestPubackIsToldBeforeTheEndOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		acked := 0
		v := &service{connected: func(ctx context.Context, s *Session) error {
			for range 2 {
				if _, err := s.PublishFunc(
					ctx, Message{Topic: "a", QoS: 1}, func() { acked++ },
				); err != nil {
					return err
				}
			}
			_, err := s.PublishFunc(ctx, Message{Topic: "a"}, func() { acked++ })
			return err
		}}
		c := connected(t, v, Options{})
		first := c.receive().(*packets.PublishPacket)
		c.receive()
		c.receive()
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = first.MessageID
		c.send(ack, ack, packets.NewControlPacket(packets.Disconnect))
		require.NoError(t, c.end())
		assert.Equal(t, 1, acked, "one of three")
	})
}

func TestPacketIdentifiersAreNotReusedInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSession(t.Context(), nil, Options{})
		taken := make(map[uint16]bool)
		for range 65535 {
			d := &Delivery{acked: make(chan struct{})}
			require.NoError(t, s.register(d))
			require.False(t, taken[d.id] || d.id == 0)
			taken[d.id] = true
		}
		require.Error(t, s.register(&Delivery{}))
		s.acknowledged(4711)
		d := &Delivery{acked: make(chan struct{})}
		require.NoError(t, s.register(d))
		assert.Equal(t, uint16(4711), d.id)
		s.cancel(nil)
	})
}

func TestPacketsOfConcurrentPublishersDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const publishers, each = 8, 50
		v := &service{connected: func(_ context.Context, s *Session) error {
			for range publishers {
				s.Go(func(ctx context.Context) error {
					for range each {
						if _, err := s.Publish(
							ctx, Message{Topic: "t", Payload: make([]byte, 3000)},
						); err != nil {
							return err
						}
					}
					return nil
				})
			}
			return nil
		}}
		c := connected(t, v, Options{})
		for range publishers * each {
			require.Len(t, c.receive().(*packets.PublishPacket).Payload, 3000)
		}
		c.leave()
	})
}

func TestSessionIsClosedFromOutside(t *testing.T) {
	for name, stuck := range map[string]bool{
		"idle": false, "while it writes to a client that does not read": true,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sessions := make(chan *Session, 1)
				v := &service{connected: func(ctx context.Context, s *Session) error {
					sessions <- s
					for stuck {
						if _, err := s.Publish(
							ctx, Message{Topic: "flood", Payload: make([]byte, 10000)},
						); err != nil {
							return err
						}
					}
					return nil
				}}
				c := connected(t, v, Options{})
				why := errors.New("device was deleted")
				synctest.Wait()
				start := time.Now()
				s := <-sessions
				s.Close(why)
				s.Close(errors.New("the first reason counts"))
				assert.ErrorIs(t, <-c.served, why)
				assert.Zero(t, time.Since(start))
				assert.Equal(t, []error{why}, v.ended)
				_, err := io.ReadAll(c.nc)
				assert.NoError(t, err)
				require.NoError(t, c.nc.Close())
			})
		})
	}
}

func TestSessionEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := memnet.Pipe("client:1", "server:8883")
		ctx, cancel := context.WithCancelCause(t.Context())
		served := make(chan error)
		go func() { served <- Serve(ctx, far, &service{}, Options{}) }()
		why := errors.New("server shuts down")
		cancel(why)
		assert.ErrorIs(t, <-served, why)
		require.NoError(t, near.Close())
	})
}

func TestResetIsSeenAsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &service{publish: func(context.Context, *Session, *Incoming) error { return ErrReset }}
		c := connected(t, v, Options{})
		c.send(publishPacket("t", 1, 1, ""))
		_, err := c.nc.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.ErrorIs(t, <-c.served, ErrReset)
		assert.False(t, Reset(struct{ net.Conn }{}), "a connection without a Reset cannot be reset")
	})
}

func TestErrorOfATaskEndsTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("token expired")
		v := &service{connected: func(_ context.Context, s *Session) error {
			s.Go(func(context.Context) error { time.Sleep(time.Hour); return why })
			return nil
		}}
		c := connected(t, v, Options{})
		start := time.Now()
		assert.ErrorIs(t, c.end(), why)
		assert.Equal(t, time.Hour, time.Since(start))
	})
}
