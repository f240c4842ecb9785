// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"strings"
)

// Messages yields the messages from the cloud to the device; of a module, what arrives at its
// inputs.
//
//	for m, err := range conn.Messages(ctx) {
//		if err != nil {
//			return err
//		}
//		handle(m)
//	}
//
// A message is acknowledged when the loop body has finished with it, however it leaves the loop,
// and not before; it is not when the body panics. A renewal of the token waits for the body while
// the old token lives. When the body takes longer, the hub sends the message again, which is then
// acknowledged when the body has finished, and not yielded again: it is recognised by its topic and
// body, together with the DUP flag of MQTT or a MessageID. The hub gives a message up after ten
// deliveries, so after nine renewals in one body. When the connection ends in a body, the message
// comes again on the next one: delivery is at least once, and MessageID tells duplicates. While the
// body works, messages wait here and, above 64, at the hub.
//
// When the loop ends, however it does, the subscription ends too, and the hub keeps what comes from
// then on for the next loop, as long as its messages live. What has arrived already waits here for
// the next loop, until the connection is renewed or ends; then the hub has it again. A subscription
// that an earlier process left at the hub ends when no loop has begun two seconds after Dial, or
// when the connection is closed before.
//
// The sequence ends after yielding an error: an *Error with the connection's cause or with that of
// ctx in its tree, or of class Server if the hub refuses the subscription. There is one loop at a
// time; a second one yields an *Error of class Caller. Several goroutines share messages by handing
// them on from the one loop.
func (c *Conn) Messages(ctx context.Context) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		if !c.inbox.claim() {
			yield(Message{}, &Error{
				Op: "messages", Hub: c.hub, Class: Caller,
				Err: errors.New("another loop takes the messages"),
			})
			return
		}
		defer c.inbox.release()
		defer c.unsubscribe(c.hub.toMessages()) // the hub makes it also if nobody waits for that
		if err := c.subscribeToMessages(ctx); err != nil {
			yield(Message{}, err)
			return
		}
		for {
			m, err := c.nextMessage(ctx)
			if err != nil {
				yield(Message{}, err)
				return
			}
			if !c.handOver(m, yield) {
				return
			}
		}
	}
}

// handOver runs the loop body with a message that was popped from the inbox.
func (c *Conn) handOver(m Message, yield func(Message, error) bool) (more bool) {
	done := false
	defer func() { c.inbox.finish(done) }()
	more = yield(m, nil)
	done = true
	return more
}

func (c *Conn) nextMessage(ctx context.Context) (m Message, err error) {
	for {
		if err := c.ended(ctx, "messages"); err != nil {
			return m, err // what is left could not be acknowledged, or is for the next loop
		}
		raw, ok, dropped := c.inbox.pop()
		if dropped > 0 {
			c.log(
				slog.LevelWarn, "no room for messages",
				slog.Int("messages", dropped),
			)
		}
		if ok {
			m = parseMessage(strings.TrimPrefix(raw.Topic, c.hub.path()+"/"))
			m.Body = raw.Payload
			return m, nil
		}
		select {
		case <-c.inbox.arrived:
		case <-c.ctx.Done():
		case <-ctx.Done():
		}
	}
}

// parseMessage reads what a topic says of its message, below the identity's own path:
// "messages/devicebound/{bag}" or "inputs/{input}/{bag}". It reads whatever comes, so that every
// message can be acknowledged: one that could not would come again for ever.
func parseMessage(topic string) Message {
	m := Message{}
	rest, ok := strings.CutPrefix(topic, "messages/devicebound/")
	if !ok {
		rest = strings.TrimPrefix(topic, "inputs/")
		var input string
		input, rest, _ = strings.Cut(rest, "/")
		m.Input = unescape(input)
	}
	rest = strings.TrimPrefix(strings.TrimSuffix(rest, "/"), "?")
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		name, value, _ := strings.Cut(pair, "=")
		if name = unescape(name); name != "" {
			m.setByName(name, unescape(value))
		}
	}
	return m
}

// setByName puts a property where it belongs.
func (m *Message) setByName(name, value string) {
	switch name {
	case "$.mid":
		m.MessageID = value
	case "$.cid":
		m.CorrelationID = value
	case "$.uid":
		m.UserID = value
	case "$.to":
		m.To = value
	case "$.ct":
		m.ContentType = value
	case "$.ce":
		m.ContentEncoding = value
	case "$.ctime":
		m.CreationTime = parseTime(value)
	case "$.exp":
		m.Expiry = parseTime(value)
	case "$.sub":
		m.Component = value
	case "$.on":
		m.Output = value
	case "iothub-ack":
		m.Ack = value
	default:
		m.setProperty(name, value)
	}
}
