// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/embedded"
)

// patience is for what has to happen, however slow the machine is.
const patience = 2 * time.Minute

// Alone starts a server without a port and connects to it.
func Alone(t *testing.T) *nats.Conn {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Config{Dir: t.TempDir(), Logger: log(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	nc, err := s.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nc.Close)
	return nc
}

// Servers are one or three servers, each with a port for clients.
type Servers struct {
	t       *testing.T
	configs []embedded.Config
	running []*embedded.Server
}

// Start starts so many servers and returns at once; a cluster needs some seconds.
func Start(t *testing.T, count int) *Servers {
	t.Helper()
	s := &Servers{t: t, running: make([]*embedded.Server, count)}
	ports := free(t, 2*count)
	for i := range count {
		c := embedded.Config{
			Dir: t.TempDir(), Name: fmt.Sprint("nats-", i), Listen: ports[i], Logger: log(t),
		}
		if count > 1 {
			c.Cluster = &embedded.Cluster{Listen: ports[count+i], Peers: ports[count:]}
		}
		s.configs = append(s.configs, c)
		s.Up(i)
	}
	t.Cleanup(func() {
		for i := range count {
			s.Down(i)
		}
	})
	return s
}

// Up starts a server, on its ports and files of before.
func (s *Servers) Up(i int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := embedded.Start(ctx, s.configs[i])
	if err != nil {
		s.t.Fatal(err)
	}
	s.running[i] = server
}

// Down stops a server, if it runs.
func (s *Servers) Down(i int) {
	if s.running[i] != nil {
		_ = s.running[i].Close()
		s.running[i] = nil
	}
}

// URL names all servers, to begin with number i.
func (s *Servers) URL(i int) string {
	urls := []string{}
	for j := range s.configs {
		urls = append(urls, "nats://"+s.configs[(i+j)%len(s.configs)].Listen)
	}
	return strings.Join(urls, ",")
}

// Connect connects to the servers, number i first if the order is kept.
func (s *Servers) Connect(i int, options ...nats.Option) *nats.Conn {
	s.t.Helper()
	all := append(natskv.ConnOptions(), nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 0), nats.Timeout(time.Second),
		nats.DontRandomize(), nats.IgnoreDiscoveredServers())
	nc, err := nats.Connect(s.URL(i), append(all, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// free returns addresses on loopback that nobody listened on a moment ago.
func free(t *testing.T, count int) []string {
	t.Helper()
	var addresses []string
	for range count {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // after all of them, so that each has its own
		addresses = append(addresses, l.Addr().String())
	}
	return addresses
}

// log shows what servers complain about if the test fails. Their end may come after the test's.
func log(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}
