// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/internal/oneline"
)

const (
	// joinTimeout is after how long it is told that a replica has not joined yet, and joinRepeat
	// how often again.
	joinTimeout = 10 * time.Second
	joinRepeat  = 5 * time.Minute
	// sameError is for how long an error that NATS tells again is not logged again.
	sameError = time.Minute
)

// connect connects to NATS, for which it starts a server of its own if there is to be one.
func (g *gateway) connect(ctx context.Context, log *natsLog) (*nats.Conn, error) {
	var conn *nats.Conn
	var err error
	if g.o.clusterListen != "" {
		server, startErr := embedded.Start(ctx, embedded.Config{
			Dir: filepath.Join(g.o.dir, "nats"), Name: g.o.replica, Logger: g.log,
			Cluster: &embedded.Cluster{
				Listen: g.o.clusterListen, Peers: strings.Split(g.o.clusterPeers, ","),
			},
		})
		if startErr != nil {
			return nil, startErr
		}
		g.leaving = append(g.leaving, server.Close)
		conn, err = server.Connect(log.options()...)
	} else {
		// The client's own question to the name server would hold up the end.
		options := append(natskv.ConnOptions(), nats.SkipHostLookup(),
			nats.SetCustomDialer(dialer{ctx}))
		if g.o.natsCreds != "" {
			options = append(options, nats.UserCredentials(g.o.natsCreds))
		}
		conn, err = nats.Connect(g.o.nats, append(options, log.options()...)...)
	}
	if err != nil {
		return nil, err
	}
	g.leaving = append(g.leaving, func() error { conn.Close(); return nil })
	return conn, nil
}

// dialer dials NATS until ctx ends, and asks name servers until then.
type dialer struct{ ctx context.Context }

// Dial implements [nats.CustomDialer].
func (d dialer) Dial(network, address string) (net.Conn, error) {
	own := net.Dialer{Timeout: nats.DefaultTimeout}
	return own.DialContext(d.ctx, network, address)
}

// natsLog tells the log what the connection to NATS meets, which is the same again and again while
// it lasts.
type natsLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last error                // why the last try to connect has failed
	told map[string]time.Time // when an error was logged last, by its text
}

func newNATSLog(log *slog.Logger) *natsLog {
	return &natsLog{log: log, told: map[string]time.Time{}}
}

func (l *natsLog) options() []nats.Option {
	return []nats.Option{
		nats.ErrorHandler(func(_ *nats.Conn, s *nats.Subscription, err error) {
			l.failed(err)
			l.report(s, err)
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.failed(err) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: this side has closed it
				l.log.Warn("connection to NATS has ended: it is made anew", "cause", line(err))
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			l.failed(nil)
			l.log.Info("connected to NATS again")
		}),
	}
}

// line is an error of NATS or of the network, of which foreign text may be a part.
func line(err error) string { return oneline.Of(err.Error(), 300) }

func (l *natsLog) failed(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = err
}

// report logs an error that no call has returned.
func (l *natsLog) report(s *nats.Subscription, err error) {
	now := time.Now()
	l.mu.Lock()
	at, known := l.told[err.Error()]
	tell := !known || now.Sub(at) >= sameError
	if tell {
		if len(l.told) >= 64 { // texts may have numbers in them
			clear(l.told)
		}
		l.told[err.Error()] = now
	}
	l.mu.Unlock()
	if !tell {
		return
	}
	attrs := []any{"cause", line(err)}
	if s != nil {
		attrs = append(attrs, "subject", oneline.Of(s.Subject, 128))
	}
	l.log.Warn("NATS reports an error", attrs...)
}

// cause is why there is no connection.
func (l *natsLog) cause(conn *nats.Conn) string {
	if err := conn.LastError(); err != nil {
		return line(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.last != nil {
		return line(l.last)
	}
	return "there is no answer"
}

// watchJoin says why the replica has not joined the others yet, until ctx ends. That a former
// process of its name is waited for, which was killed a moment ago, is nothing to tell.
func (g *gateway) watchJoin(ctx context.Context, conn *nats.Conn, log *natsLog) {
	for wait := joinTimeout; ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		wait = joinRepeat
		if !conn.IsConnected() {
			g.log.Warn("NATS does not answer: no device runs before it does", "cause",
				log.cause(conn))
		} else if err := askJetStream(ctx, conn); err != nil && ctx.Err() == nil {
			g.log.Warn("JetStream does not answer: no device runs before it does", "cause",
				line(err))
		} else {
			wait = joinTimeout
		}
	}
}

// askJetStream asks whether something is kept.
func askJetStream(ctx context.Context, conn *nats.Conn) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err = js.AccountInfo(ctx)
	return err
}
