// SPDX-License-Identifier: Apache-2.0

package intake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rehome-iot/rehome/internal/mqttserver"
	"github.com/rehome-iot/rehome/internal/oneline"
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
	Token string `json:"-"`
	// Logger is told which clients were turned away, and why.
	Logger *slog.Logger
	// Counted is called with the outcome of each message.
	Counted func(error)
}

const (
	// underWayOfAll is how many bytes of messages all clients have under way at most, and underWay
	// how many one has: what comes then is not read. Each message counts perMessage besides.
	underWayOfAll = 64 << 20
	underWay      = 1 << 20
	perMessage    = 512

	// largestConnect and longestConnect bound what a client may cost that has not shown its
	// password yet.
	largestConnect = 16 << 10
	longestConnect = 10 * time.Second
	// longestIdle is how long a client may be silent that has asked for no keep-alive.
	longestIdle = 30 * time.Minute
	// pause is for how long a client is kept waiting that is turned away: it would be back at once,
	// with the same message.
	pause = time.Second

	shownID    = 64  // characters of a client's ID in the log
	shownCause = 300 // and of why it is turned away
	shownName  = 60  // and of a property's name, in what its sender is told
)

// String does not show the token.
func (s MQTT) String() string { return "mqtt listener (token redacted)" }

// GoString is String.
func (s MQTT) GoString() string { return s.String() }

// Format writes String for every verb.
func (s MQTT) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// LogValue is String.
func (s MQTT) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Serve takes connections until the listener is closed, and returns when all have ended: they do so
// with ctx.
func (s *MQTT) Serve(ctx context.Context, l net.Listener) error {
	room := semaphore.NewWeighted(underWayOfAll)
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
		connections.Go(func() { s.serve(ctx, nc, room) })
	}
}

// serve serves one connection. One whose client is turned away is held for a while, unread.
func (s *MQTT) serve(ctx context.Context, nc net.Conn, room *semaphore.Weighted) {
	defer nc.Close()
	c := &client{MQTT: s, room: room}
	err := mqttserver.Serve(ctx, held{nc}, c, mqttserver.Options{
		MaxConnect: largestConnect, ConnectTimeout: longestConnect, MaxIdle: longestIdle,
	})
	room.Release(c.held)
	cause := c.closeReason(err)
	if cause == "" || ctx.Err() != nil {
		return
	}
	s.Logger.Warn("mqtt client turned away", "client", c.id, "from", nc.RemoteAddr().String(),
		"cause", oneline.Of(cause, shownCause))
	if c.paused {
		return
	}
	select {
	case <-time.After(pause):
	case <-ctx.Done():
	}
}

// held is a connection that is not closed with its session.
type held struct{ net.Conn }

// Close does nothing: the end of a session breaks reads and writes by their deadlines.
func (held) Close() error { return nil }
