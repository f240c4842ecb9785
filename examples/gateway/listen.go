// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
)

const (
	// headerTimeout is how long a client may take for a request's header, and idleTimeout how long
	// it may keep a connection without one.
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// shutdownTimeout is how long, at the end, requests under way have to be answered.
	shutdownTimeout = 2500 * time.Millisecond
	// maxConnections is how many each port has, so that the process can open files and connect to
	// hubs however many come: the unit allows it 65,536 of all kinds.
	maxConnections = 16384
)

// listeners are who listens to senders.
type listeners struct {
	http, mqtt net.Listener // nil: nobody
	web        *http.Server
	cancel     context.CancelCauseFunc
	serving    sync.WaitGroup
}

// listen listens where the settings say.
func (g *gateway) listen() (l *listeners, err error) {
	l = &listeners{}
	ctx, cancel := context.WithCancelCause(context.Background())
	l.cancel = cancel
	if l.http, err = listenAt(g.o.http); err != nil {
		return nil, g.o.Wrong("http", err)
	}
	if l.mqtt, err = listenAt(g.o.mqtt); err != nil {
		l.close()
		return nil, g.o.Wrong("mqtt", err)
	}
	l.http, l.mqtt = g.bound(l.http), g.bound(l.mqtt)
	for _, at := range []net.Listener{l.http, l.mqtt} {
		if g.o.token == "" && isOpen(at) {
			g.log.Warn("everybody who reaches the port may send for every device: set -token",
				"address", at.Addr().String())
		}
	}
	if l.http != nil {
		l.web = &http.Server{
			Handler:           g.handler(l.http.Addr()),
			ReadHeaderTimeout: headerTimeout, IdleTimeout: idleTimeout,
			ReadTimeout: time.Minute, WriteTimeout: time.Minute, MaxHeaderBytes: 64 << 10,
			ErrorLog: slog.NewLogLogger(g.log.Handler(), slog.LevelDebug),
		}
		l.serving.Go(func() { _ = l.web.Serve(l.http) })
	}
	if l.mqtt != nil {
		m := &intake.MQTT{
			Keeper: g, Token: g.o.token, Logger: g.log, Counted: g.metrics.counter("mqtt"),
		}
		l.serving.Go(func() { _ = m.Serve(ctx, l.mqtt) })
	}
	return l, nil
}

// bound bounds how many connections a port has. Nobody listens where there is none.
func (g *gateway) bound(l net.Listener) net.Listener {
	if l == nil {
		return nil
	}
	return intake.Bound(l, maxConnections, func() {
		g.log.Warn("a port has all the connections it may have: others wait",
			"address", l.Addr().String(), "connections", maxConnections)
	})
}

// listenAt listens at an address of the settings; nil is nobody. The socket of a former process
// that was killed is taken away, if nobody answers there.
func listenAt(address string) (net.Listener, error) {
	if address == none {
		return nil, nil
	}
	path, unix := strings.CutPrefix(address, "unix:")
	if !unix {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("%w: choose another port, or end what has it", err)
		}
		return l, nil
	}
	if c, err := net.Dial("unix", path); err == nil {
		_ = c.Close()
		return nil, fmt.Errorf("another process listens at %s: end that, or choose another", path)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err == nil {
		err = os.Chmod(path, 0o666) // its directory says who may reach it
	}
	return l, err
}

// isOpen says that others than this machine may reach a listener.
func isOpen(l net.Listener) bool {
	if l == nil {
		return false
	}
	at, ok := l.Addr().(*net.TCPAddr)
	return ok && !at.IP.IsLoopback()
}

// close ends them: requests under way are answered, and MQTT clients are left with what they have
// no PUBACK for, which they send again.
func (l *listeners) close() {
	l.cancel(errStopped)
	if l.mqtt != nil {
		_ = l.mqtt.Close()
	}
	if l.web != nil {
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if err := l.web.Shutdown(ctx); errors.Is(err, context.DeadlineExceeded) {
			_ = l.web.Close()
		}
	} else if l.http != nil {
		_ = l.http.Close()
	}
	l.serving.Wait()
}

func (l *listeners) httpAt() string { return at(l.http) }
func (l *listeners) mqttAt() string { return at(l.mqtt) }

func at(l net.Listener) string {
	if l == nil {
		return none
	}
	return l.Addr().String()
}
