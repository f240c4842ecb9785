// SPDX-License-Identifier: Apache-2.0

package natstest

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache/natskv"
	"github.com/rehome-iot/rehome/cache/natskv/embedded"
	"github.com/rehome-iot/rehome/internal/freeport"
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
	t         *testing.T
	configs   []config
	running   []io.Closer
	processes bool
}

// config is what differs between servers.
type config struct {
	Dir, Name, Listen string
	Cluster           *embedded.Cluster
}

func (c config) embedded(log *slog.Logger) embedded.Config {
	return embedded.Config{
		Dir: c.Dir, Name: c.Name, Listen: c.Listen, Cluster: c.Cluster, Logger: log,
	}
}

// Start starts so many servers and returns at once; a cluster needs some seconds.
func Start(t *testing.T, count int) *Servers {
	t.Helper()
	return start(t, count, false)
}

// StartProcesses starts servers in processes of their own, which Down kills; see Main. A cluster
// takes longer to do without one that was killed than without one that says good-bye.
func StartProcesses(t *testing.T, count int) *Servers {
	t.Helper()
	return start(t, count, true)
}

func start(t *testing.T, count int, processes bool) *Servers {
	t.Helper()
	s := &Servers{t: t, running: make([]io.Closer, count), processes: processes}
	addresses, err := freeport.Addresses(2 * count)
	if err != nil {
		t.Fatal(err)
	}
	for i := range count {
		c := config{Dir: t.TempDir(), Name: fmt.Sprint("nats-", i), Listen: addresses[i]}
		if count > 1 {
			c.Cluster = &embedded.Cluster{Listen: addresses[count+i], Peers: addresses[count:]}
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
	if s.processes {
		s.running[i] = startProcess(s.t, s.configs[i])
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	server, err := embedded.Start(ctx, s.configs[i].embedded(log(s.t)))
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
		nats.DontRandomize(), nats.IgnoreDiscoveredServers(), nats.PingInterval(time.Second))
	nc, err := nats.Connect(s.URL(i), append(all, options...)...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}

// log shows what servers complain about if the test fails. Their end may come after the test's.
func log(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
}
