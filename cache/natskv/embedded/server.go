// SPDX-License-Identifier: Apache-2.0

package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/cache/natskv"
)

// Config says what server to start. Dir alone makes one for one machine.
type Config struct {
	// Dir is the directory of JetStream's files, made if it is not there. One server uses it at a
	// time. Required.
	Dir string

	// Name is the server's name, another one for each server of a cluster; "rehome" by default.
	Name string

	// Listen is the address for clients in other processes, such as "127.0.0.1:4222". The default
	// is none: the process itself connects without one. A member of a cluster, which cannot be
	// without, then has one of the system's choice on loopback, for a token that nobody is told.
	Listen string

	// Cluster makes it a member of a cluster. Nil is a server that is alone.
	Cluster *Cluster

	// SyncInterval is after how long at most a write is on the medium; what is killed loses
	// nothing, what loses its power so much. The default is 10 s. A server that is written to
	// syncs once in each, so that shorter ones wear flash.
	SyncInterval time.Duration

	// MaxStore is how many bytes JetStream may take of the medium, 1 GiB by default. 10,000
	// devices need some ten million.
	MaxStore int64

	// Options changes what is not said here, such as TLS and authorization of the ports. It is
	// called last.
	Options func(*server.Options)

	// Logger is told the server's warnings and errors, and its notices at debug level. Nil is
	// silence.
	Logger *slog.Logger
}

// A Cluster is how the servers of several machines find each other. Its port is open to whoever
// reaches it, unless Config.Options sets TLS and authorization there.
type Cluster struct {
	// Name is the cluster's, the same in all; "rehome" by default.
	Name string
	// Listen is the address for the other servers, such as "10.0.0.1:6222".
	Listen string
	// Peers are these addresses of all servers; this one's own may be among them.
	Peers []string
}

// A Server is a NATS server that runs.
type Server struct {
	server *server.Server
	lock   *dirLock
	once   sync.Once
	closed bool   // its port is for nobody
	token  string // of that
}

// Start starts a server and returns when it takes connections. ctx bounds the start alone. In a
// cluster, JetStream answers once a majority of the servers run, which may be later.
func Start(ctx context.Context, config Config) (*Server, error) {
	if config.Dir == "" {
		return nil, errors.New("embedded NATS server: set Dir to a directory for its files")
	}
	options, closed, err := config.options()
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	lock, err := lockDir(config.Dir)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	s, err := server.NewServer(options)
	if err != nil {
		lock.unlock()
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	log := &logger{to: config.Logger}
	if log.to == nil {
		log.to = slog.New(slog.DiscardHandler)
	}
	s.SetLoggerV2(log, false, false, false)
	started := &Server{server: s, lock: lock, closed: closed, token: options.Authorization}
	go s.Start()
	for !s.ReadyForConnections(10 * time.Millisecond) {
		err := log.fatal()
		if err == nil && ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		if err != nil {
			_ = started.Close()
			return nil, fmt.Errorf("embedded NATS server: %w", err)
		}
	}
	return started, nil
}

// options are those of the server, and whether its port is for nobody.
func (c Config) options() (o *server.Options, closed bool, err error) {
	o = &server.Options{
		ServerName: or(c.Name, "rehome"), NoSigs: true, DontListen: c.Listen == "",
		JetStream: true, StoreDir: c.Dir, DisableJetStreamBanner: true,
		JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: or(c.MaxStore, 1<<30),
		SyncInterval: or(c.SyncInterval, 10*time.Second),
		MaxPayload:   2 << 20, // entries of 1 MiB, and their headers
	}
	if c.Listen != "" {
		if o.Host, o.Port, err = split(c.Listen); err != nil {
			return nil, false, fmt.Errorf("field Listen: %w", err)
		}
	}
	if cluster := c.Cluster; cluster != nil {
		o.Cluster.Name = or(cluster.Name, "rehome")
		if o.Cluster.Host, o.Cluster.Port, err = split(cluster.Listen); err != nil {
			return nil, false, fmt.Errorf("field Cluster.Listen: %w", err)
		}
		for _, peer := range cluster.Peers {
			if peer != cluster.Listen {
				o.Routes = append(o.Routes, &url.URL{Scheme: "nats", Host: peer})
			}
		}
	}
	if c.Options != nil {
		c.Options(o)
	}
	if c.Cluster != nil && o.DontListen {
		closePort(o)
		closed = true
	}
	return o, closed, nil
}

// closePort is for a member of a cluster that has no port for clients. The server waits for that
// port before it begins with the routes to the others, and without it would wait for ever.
func closePort(o *server.Options) {
	o.DontListen, o.Host, o.Port = false, "127.0.0.1", server.RANDOM_PORT
	o.Cluster.NoAdvertise = true // the others tell nobody of it
	if o.Username == "" && o.Authorization == "" && o.Users == nil && o.Nkeys == nil &&
		o.TrustedOperators == nil && o.CustomClientAuthentication == nil {
		o.Authorization = rand.Text()
	}
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// split takes an address apart; port 0 is any that is free, which the server knows as -1.
func split(address string) (host string, port int, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(service)
	if port == 0 {
		port = server.RANDOM_PORT
	}
	return host, port, err
}

// Connect connects the process to the server, without a port, by natskv.ConnOptions and these.
func (s *Server) Connect(options ...nats.Option) (*nats.Conn, error) {
	all := append(natskv.ConnOptions(), nats.InProcessServer(s.server))
	if s.closed {
		all = append(all, nats.Token(s.token))
	}
	return nats.Connect("", append(all, options...)...)
}

// URL is where clients in other processes connect; empty if there is no port for them.
func (s *Server) URL() string {
	if s.server.Addr() == nil || s.closed {
		return ""
	}
	return s.server.ClientURL()
}

// Close stops the server and waits for its end. Close what is connected first.
func (s *Server) Close() error {
	s.once.Do(func() {
		s.server.Shutdown()
		s.server.WaitForShutdown()
		s.lock.unlock()
	})
	return nil
}
