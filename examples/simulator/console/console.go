// SPDX-License-Identifier: Apache-2.0

// Package console is the simulator's console: a web page for people who play the operator, and see
// what devices make of it. It shows the fleet, moves devices, switches faults on and off, and draws
// what a device asked and how long it waited.
//
// Everything it changes is a step of a scenario, carried out by the program that it belongs to. So
// what was done can be kept as a file and played again.
package console

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

//go:embed static
var static embed.FS

// Simulator is what a console shows, and how it changes it. All fields must be set.
type Simulator struct {
	// Network is where the services live.
	Network *simnet.Network
	// DPS is the provisioning service.
	DPS *dpstest.Server
	// Hubs are all hubs, in the order of their columns; a hub that is not linked too.
	Hubs []*hubtest.Hub
	// Do carries out one step of a scenario at once. Its error is one line that names the field.
	Do func(step json.RawMessage) error
	// Load checks a scenario and returns what plays it: until its end, or until the context ends.
	Load func(scenario json.RawMessage) (play func(context.Context), err error)
	// Log is told of requests that were refused.
	Log *slog.Logger
}

// Server is a console that listens. Its methods are safe for concurrent use.
type Server struct {
	sim      Simulator
	host     string // as it was asked to listen on
	listener net.Listener
	http     *http.Server
	files    http.Handler
	ctx      context.Context // ends with the server
	end      context.CancelCauseFunc
	tasks    sync.WaitGroup

	fleet    fleet
	history  history
	operator operator
	watchers watchers
}

var errClosed = errors.New("the console is closed")

// Start listens on an address, such as "127.0.0.1:8080", and serves until Close.
func Start(address string, sim Simulator) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("-console: %w: choose another port, 0 takes a free one", err)
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("-console: %w", err), l.Close())
	}
	pages, err := fs.Sub(static, "static")
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	s := &Server{sim: sim, host: host, listener: l, files: http.FileServerFS(pages)}
	s.ctx, s.end = context.WithCancelCause(context.Background())
	s.http = &http.Server{
		Handler: s.guard(s.routes()), ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(sim.Log.Handler(), slog.LevelDebug),
	}
	s.look()
	s.tasks.Go(func() {
		if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			sim.Log.Warn("console has ended", "error", err)
		}
	})
	s.tasks.Go(s.follow)
	return s, nil
}

// URL is the page's address.
func (s *Server) URL() string {
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return ""
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port) + "/"
}

// Close ends the server, its connections, and a scenario that it plays.
func (s *Server) Close() error {
	s.end(errClosed)
	err := s.http.Close()
	s.tasks.Wait()
	return err
}

// followEvery is how often the services are looked at: what happens is on the page that much later.
const followEvery = 250 * time.Millisecond

// followLate is how late it is at most, on a machine that is busy.
const followLate = 2 * time.Second

// follow keeps the picture up to date, until the server ends. A large fleet takes no more than a
// twentieth of a processor.
func (s *Server) follow() {
	for pause := followEvery; ; {
		timer := time.NewTimer(pause)
		select {
		case <-s.ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		begun := time.Now()
		s.look()
		pause = min(max(followEvery, 20*time.Since(begun)), followLate)
	}
}

// look reads what is new in the logs, and tells those who watch what it made of the fleet.
func (s *Server) look() {
	s.history.read(&s.sim)
	changed, gone := s.fleet.read(&s.sim, &s.history)
	if len(changed)+len(gone) > 0 {
		s.watchers.tell("change", change{Devices: changed, Gone: gone})
	}
	if hubs, ok := s.fleet.readHubs(&s.sim); ok {
		s.watchers.tell("hubs", hubs)
	}
}
