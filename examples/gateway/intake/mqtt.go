// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"context"
	"crypto/subtle"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/mqttserver"
)

// MQTT takes messages of MQTT 3.1.1 clients: programs that publish for many devices, and devices
// that publish as they would to IoT Hub. It is a listener and no broker: nobody can subscribe.
//
// It is made of the server side that the simulators have, internal/mqttserver, and not of a broker
// such as github.com/mochi-mqtt/server (MIT; last release in March 2025): a broker acknowledges a
// message when its hooks have returned, one after the other, so that each message would wait for
// its own write. Here a PUBACK waits for the write, and those of many messages for one together.
type MQTT struct {
	Keeper Keeper
	// Token is the password that clients have to show; empty: none.
	Token string
	// Logger is told which clients were turned away, and why.
	Logger *slog.Logger
	// Counted is called with the outcome of each message.
	Counted func(error)
}

const (
	// A client has so many messages under way at most: what comes then is not read.
	mostUnderWay      = 256
	mostBytesUnderWay = 4 << 20

	// pause is for how long a client is kept waiting that is turned away: it would be back at once,
	// with the same message.
	pause = time.Second
	// longestIdle is how long a client may be silent that has asked for no keep-alive.
	longestIdle = 30 * time.Minute
)

// Serve takes connections until the listener is closed, and returns when all have ended: they do so
// with ctx.
func (s *MQTT) Serve(ctx context.Context, l net.Listener) error {
	var connections sync.WaitGroup
	defer connections.Wait()
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) || ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil { // such as too many open files, which pass
			select {
			case <-time.After(pause):
				continue
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		connections.Go(func() {
			c := &client{MQTT: s, arrivals: make(chan arrival, mostUnderWay)}
			_ = mqttserver.Serve(ctx, nc, c, mqttserver.Options{MaxIdle: longestIdle})
		})
	}
}

// client is one connection.
type client struct {
	*MQTT
	arrivals chan arrival
}

// arrival is a message that waits to be kept.
type arrival struct {
	incoming *mqttserver.Incoming
	device   string
	lane     Lane
	message  hubconn.Message
}

// Connect implements mqttserver.Handler.
func (c *client) Connect(
	_ context.Context, _ *mqttserver.Session, connect *mqttserver.Connect,
) (mqttserver.Connack, error) {
	if c.Token != "" && subtle.ConstantTimeCompare(connect.Password, []byte(c.Token)) != 1 {
		c.Logger.Warn("mqtt client turned away", "client", connect.ClientID,
			"cause", "its password is not the token")
		return mqttserver.Connack{ReturnCode: mqttserver.BadCredentials}, nil
	}
	return mqttserver.Connack{}, nil
}

// Connected implements mqttserver.Handler.
func (c *client) Connected(_ context.Context, s *mqttserver.Session) error {
	s.Go(func(ctx context.Context) error { return c.keepAll(ctx, s) })
	return nil
}

// Publish implements mqttserver.Handler. The order of messages is that in which it is called.
func (c *client) Publish(
	ctx context.Context, s *mqttserver.Session, m *mqttserver.Incoming,
) error {
	device, lane, message, err := parseTopic(m.Topic)
	if err != nil {
		c.Counted(err)
		return c.turnAway(ctx, s, err)
	}
	m.Withhold()
	message.Body = m.Payload
	select {
	case c.arrivals <- arrival{m, device, lane, message}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// keepAll keeps what arrives: all that has come while the last messages were written, together.
func (c *client) keepAll(ctx context.Context, s *mqttserver.Session) error {
	for {
		var batch []arrival
		select {
		case a := <-c.arrivals:
			batch = append(batch, a)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		for size, more := len(batch[0].message.Body), true; more && size < mostBytesUnderWay; {
			select {
			case a := <-c.arrivals:
				batch, size = append(batch, a), size+len(a.message.Body)
			default:
				more = false
			}
		}
		acknowledge, err := c.keep(ctx, batch)
		// In the order in which they came: MQTT 3.1.1 §4.6.
		for _, a := range batch[:acknowledge] {
			if err := a.incoming.Ack(); err != nil {
				return err
			}
		}
		if err != nil {
			return c.turnAway(ctx, s, err)
		}
	}
}

// keep keeps messages, those of each device in their order, and returns how many of the first may
// be acknowledged. The error is that of the one behind them.
func (c *client) keep(ctx context.Context, batch []arrival) (acknowledge int, err error) {
	type place struct {
		device string
		lane   Lane
	}
	groups := map[place][]int{}
	for i, a := range batch {
		p := place{a.device, a.lane}
		groups[p] = append(groups[p], i)
	}
	outcome := make([]error, len(batch)) // each group has its own
	var keeping sync.WaitGroup
	for p, members := range groups {
		keeping.Go(func() { c.keepGroup(ctx, p.device, p.lane, batch, members, outcome) })
	}
	keeping.Wait()
	for i, err := range outcome {
		if ctx.Err() == nil {
			c.Counted(err)
		}
		if err != nil {
			return i, err
		}
	}
	return len(batch), nil
}

// keepGroup keeps those of one device together. Where they are refused, one by one up to the first
// that is at fault: what stands before it is good.
func (c *client) keepGroup(
	ctx context.Context, device string, lane Lane, batch []arrival, members []int, outcome []error,
) {
	messages := make([]hubconn.Message, len(members))
	for i, at := range members {
		messages[i] = batch[at].message
	}
	err := c.Keeper.Keep(ctx, device, lane, messages...)
	if err == nil {
		return
	}
	if r, ok := errors.AsType[*Refusal](err); !ok || !r.Permanent() || len(members) == 1 {
		for _, at := range members {
			outcome[at] = err
		}
		return
	}
	err = nil
	for i, at := range members {
		if err == nil {
			err = c.Keeper.Keep(ctx, device, lane, messages[i])
		}
		outcome[at] = err
	}
}

// turnAway ends a connection with a message that is not taken: MQTT 3.1.1 has no other way to say
// so, and IoT Hub does the same. An acknowledgement would be a lie.
func (c *client) turnAway(ctx context.Context, s *mqttserver.Session, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx) // it has gone
	}
	c.Logger.Warn("mqtt client turned away", "client", s.Client().ClientID, "cause", err.Error())
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
	return err
}

// Subscribe implements mqttserver.Handler.
func (c *client) Subscribe(
	_ context.Context, _ *mqttserver.Session, r *mqttserver.Subscribe,
) error {
	codes := make([]byte, len(r.Filters))
	for i := range codes {
		codes[i] = mqttserver.SubscribeFailure
	}
	return r.Reply(codes...)
}

// Unsubscribe implements mqttserver.Handler.
func (c *client) Unsubscribe(context.Context, *mqttserver.Session, []string) error { return nil }

// Disconnected implements mqttserver.Handler.
func (c *client) Disconnected(*mqttserver.Session, error) {}
