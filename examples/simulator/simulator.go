// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"syscall"

	"github.com/rehome-iot/rehome/examples/simulator/console"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// simulator is a provisioning service and its hubs, listening.
type simulator struct {
	flags   *flags
	config  *config
	log     *slog.Logger
	network *simnet.Network
	dps     *dpstest.Server
	hubs    []*hubtest.Hub
	ca      string // file with the CA's certificate
	scratch string // directory to remove at the end
	keeper  *keeper
	events  *simnet.EventLog
	feed    *feed
	feedKey string
	console *console.Server
	tasks   sync.WaitGroup

	heard map[string]bool // hubs and devices that a message has come from, for the journal
}

// start listens, and serves from then on. On an error nothing stays.
func start(f *flags, cfg *config, log *slog.Logger) (s *simulator, err error) {
	s = &simulator{flags: f, config: cfg, log: log, heard: map[string]bool{}}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err = emptyExports(f.envFile); err != nil {
		return s, err
	}
	dir := f.caDir
	if dir == "" {
		if s.scratch, err = os.MkdirTemp("", "simulator-"); err != nil {
			return s, err
		}
		dir = s.scratch
	}
	ca, file, err := authority(dir)
	if err != nil {
		return s, usageError{fmt.Errorf("-ca-dir %w", err)}
	}
	s.ca = file
	if s.feedKey, err = feedKey(f.feedKey); err != nil {
		return s, usageError{fmt.Errorf("-feed-key-file %w", err)}
	}
	listen := simnet.ListenConfig{
		Addr: f.addr, HTTPSPort: f.https, MQTTPort: f.mqtt, AMQPPort: f.amqp, CA: ca,
	}
	s.network, err = simnet.Listen(listen)
	if err != nil && f.amqp == amqpPort {
		// A broker has that port, maybe, or another simulator: it is not needed for anything.
		listen.AMQPPort = 0
		s.network, err = simnet.Listen(listen)
	}
	if err != nil {
		return s, hintPorts(err)
	}
	s.events = &simnet.EventLog{MaxEvents: cfg.Feed.MaxEvents, MaxBytes: cfg.Feed.MaxBytes}
	s.network.RecordEvents(s.events)
	s.feed = newFeed(s.events, cfg.hubNames()...)
	s.addDPS()
	s.mount()
	if err := s.addHubs(); err != nil {
		return s, err
	}
	restored, err := restore(s.dps, f.state)
	if err != nil {
		return s, usageError{err}
	}
	if err := s.setPolicies(); err != nil {
		return s, usageError{err}
	}
	if restored {
		log.Info(
			"state restored: the enrollments of the configuration are not read", "state", f.state,
		)
	} else if err := s.enroll(); err != nil {
		return s, usageError{err}
	}
	if f.state != "" {
		if s.keeper, err = keep(s.dps, f.state, log); err != nil {
			return s, usageError{fmt.Errorf("-state %w", err)}
		}
	}
	if f.console != "" {
		if s.console, err = s.startConsole(f.console); err != nil {
			return s, err
		}
	}
	return s, nil
}

// addDPS makes the provisioning service, with the issuer of certificates.
func (s *simulator) addDPS() {
	service := s.config.service()
	service.Issuer = hubtest.NewIssuer(s.network, hubtest.IssuerConfig(s.config.Issuer))
	s.dps = dpstest.New(s.network, service)
}

// addHubs makes the hubs of the configuration. One that does not keep in step with certificate
// authorities knows none yet.
func (s *simulator) addHubs() error {
	for i, h := range s.config.Hubs {
		hub := hubtest.NewHub(s.network, strings.ToLower(h.HostName))
		if err := s.checkStorage(hub); err != nil {
			return usageError{fmt.Errorf("%s: hubs[%d].hostName: %w", s.config.file, i, err)}
		}
		hub.SetConnectionProfile(h.ConnectionProfile)
		hub.SetCredentialSync(h.CredentialSync == nil || *h.CredentialSync)
		hub.SweepC2D()
		s.hubs = append(s.hubs, hub)
		if err := s.link(hub.Host()); err != nil {
			return err
		}
	}
	return nil
}

// checkStorage finds a hub whose storage has the name of something else.
func (s *simulator) checkStorage(hub *hubtest.Hub) error {
	for _, other := range s.hubs {
		for _, pair := range [][2]string{
			{hub.BlobHost(), other.BlobHost()}, {hub.BlobHost(), other.Host()},
			{hub.Host(), other.BlobHost()},
		} {
			if pair[0] == pair[1] {
				return fmt.Errorf(
					"%s and %s would share %s, where uploads go: give one of them another name",
					other.Host(), hub.Host(), pair[0],
				)
			}
		}
	}
	return nil
}

// link makes a hub available to the allocation, with its weight.
func (s *simulator) link(name string) error {
	s.dps.Link(s.hub(name))
	for _, h := range s.config.Hubs {
		if strings.EqualFold(h.HostName, name) && h.AllocationWeight != nil {
			return s.dps.SetWeight(name, *h.AllocationWeight)
		}
	}
	return nil
}

// enroll stores the enrollments of the configuration.
func (s *simulator) enroll() error {
	for i, e := range s.config.Enrollments {
		if err := s.dps.Enroll(e); err != nil {
			return fmt.Errorf("%s: enrollments[%d]: %s", s.config.file, i, plain(err))
		}
	}
	for i, g := range s.config.EnrollmentGroups {
		if err := s.dps.EnrollGroup(g); err != nil {
			return fmt.Errorf("%s: enrollmentGroups[%d]: %s", s.config.file, i, plain(err))
		}
	}
	return nil
}

func plain(err error) string { return strings.TrimPrefix(err.Error(), "dpstest: ") }

// close ends everything, and keeps the state.
func (s *simulator) close() error {
	var err error
	if s.console != nil {
		err = s.console.Close()
	}
	s.tasks.Wait()
	if s.network != nil {
		// before the state is kept: no request changes it any more
		err = errors.Join(err, s.network.Close())
	}
	if s.keeper != nil {
		err = errors.Join(err, s.keeper.close())
	}
	if s.scratch != "" {
		err = errors.Join(err, os.RemoveAll(s.scratch))
	}
	return err
}

// How Windows says that a port is taken (WSAEADDRINUSE), and that an address is another machine's
// (WSAEADDRNOTAVAIL).
const (
	addressInUse        = syscall.Errno(10048)
	addressNotAvailable = syscall.Errno(10049)
)

// hintPorts says what to do where the ports of the real service cannot be had.
func hintPorts(err error) error {
	switch {
	case errors.Is(err, os.ErrPermission):
		return fmt.Errorf(
			"%w: ports below 1024 need privileges, -https 0 and -mqtt 0 take free ones", err,
		)
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, addressInUse):
		return fmt.Errorf(
			"%w: another program has the port: end it, or name another one with -https or -mqtt "+
				"(0 takes a free one); -amqp 0 does without", err,
		)
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, addressNotAvailable):
		return fmt.Errorf("%w: -addr is an address that this machine does not have", err)
	}
	return err
}
