// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Whatever the program is doing, SIGTERM ends it within 3 s and with exit status 0.
func TestTerminationEndsTheProgramInTime(t *testing.T) {
	t.Parallel()
	type situation struct {
		registered bool // an assignment is remembered already
		arrange    func(s *site)
		reached    func(t *testing.T, s *site, p *process)
	}
	logged := func(name string) func(*testing.T, *site, *process) {
		return func(_ *testing.T, _ *site, p *process) { p.await(name, 0, state(name)) }
	}
	together(t, map[string]situation{
		"connected": {reached: logged("connected")},
		"waiting for the hub": {
			registered: true,
			arrange: func(s *site) {
				s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
			},
			reached: logged("waiting"),
		},
		"waiting for DPS": {
			arrange: func(s *site) {
				s.dps.Inject(dpstest.Fault{
					On: dpstest.Register, Status: 429, RetryAfter: "3600", Times: -1,
				})
			},
			reached: logged("waiting"),
		},
		"in a dial to the hub that nobody answers": {
			registered: true,
			arrange:    func(s *site) { s.network.SetFault(hubA, simnet.Blackhole) },
			reached: func(t *testing.T, s *site, p *process) {
				logged("connecting")(t, s, p)
				eventually(t, "a dial", func() bool { return s.network.Dials(hubA) > 1 })
			},
		},
		"in a dial to DPS that nobody answers": {
			arrange: func(s *site) { s.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole) },
			reached: func(t *testing.T, s *site, p *process) {
				eventually(t, "a dial", func() bool {
					return s.network.Dials(dpstest.GlobalEndpoint) > 0
				})
			},
		},
		"before the CONNACK": {
			registered: true,
			arrange: func(s *site) {
				s.a.Inject(hubtest.Fault{On: hubtest.Connect, NoAnswer: true, Times: -1})
			},
			reached: func(t *testing.T, s *site, p *process) {
				eventually(t, "a CONNECT", func() bool { return len(s.a.Attempts()) > 1 })
			},
		},
		"in a registration without answer": {
			arrange: func(s *site) {
				s.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true, Times: -1})
			},
			reached: func(t *testing.T, s *site, p *process) {
				eventually(t, "a request", func() bool { return s.dps.Count(dpstest.Register) > 0 })
			},
		},
		"between two polls": {
			arrange: func(s *site) {
				s.dps.Inject(dpstest.Fault{On: dpstest.Register, RetryAfter: "600", Times: -1})
			},
			reached: func(t *testing.T, s *site, p *process) {
				eventually(t, "an answer", func() bool {
					r := s.dps.Requests()
					return len(r) > 0 && r[0].Status != 0
				})
			},
		},
		"connected to a hub that has gone silent": {
			reached: func(t *testing.T, s *site, p *process) {
				logged("connected")(t, s, p)
				s.network.Stall(hubA, true)
			},
		},
		"with a message that is not acknowledged": {
			arrange: func(s *site) {
				s.a.Inject(hubtest.Fault{On: hubtest.Publish, NoAnswer: true, Times: -1})
			},
			reached: logged("connected"),
		},
		"reprovisioning": {
			reached: func(t *testing.T, s *site, p *process) {
				logged("connected")(t, s, p)
				s.dps.Inject(dpstest.Fault{On: dpstest.Register, NoAnswer: true, Times: -1})
				p.signal(syscall.SIGHUP)
				eventually(t, "a second registration", func() bool {
					return s.dps.Count(dpstest.Register) > 1
				})
			},
		},
		"about to reboot": {
			reached: func(t *testing.T, s *site, p *process) {
				logged("connected")(t, s, p)
				invoke(t, s.a, "reboot", map[string]any{"delay": 3600}, 202)
				p.await("rebooting", 0, func(r record) bool { return r.Msg == "rebooting" })
			},
		},
		"rebooting, with a hub that has gone silent": {
			reached: func(t *testing.T, s *site, p *process) {
				logged("connected")(t, s, p)
				invoke(t, s.a, "reboot", nil, 202)
				s.network.Stall(hubA, true)
				p.await("the reboot", 0, func(r record) bool { return r.Msg == "thermostat stops" })
			},
		},
		"with a method, a message and a change of the target at once": {
			reached: func(t *testing.T, s *site, p *process) {
				logged("connected")(t, s, p)
				eventually(t, "subscriptions", func() bool {
					return reported(s.a, targetProperty) != nil
				})
				s.a.Inject(hubtest.Fault{On: hubtest.TwinPatch, NoAnswer: true, Times: -1})
				_, err := s.a.PatchDesired("board", map[string]any{targetProperty: 25})
				require.NoError(t, err)
				require.NoError(t, s.a.SendC2D("board", hubtest.C2D{Body: []byte("hello")}))
				invoke(t, s.a, "reprovision", nil, 202)
			},
		},
	}, func(t *testing.T, c situation) {
		s := newSite(t)
		s.enroll(t, "board")
		if c.registered {
			p := launch(t, s.keyFlags("board"))
			p.await("connected", 0, state("connected"))
			p.stop()
			s.dps.ResetLog()
		}
		if c.arrange != nil {
			c.arrange(s)
		}
		p := launch(t, s.keyFlags("board"))
		c.reached(t, s, p)
		p.stop()
	})
}

func TestTerminationDisconnectsInGoodOrder(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	_, after := p.await("connected", 0, state("connected"))
	p.stop()
	p.await("stopped", after, state("stopped"))
	eventually(t, "disconnected", func() bool { return !s.a.Connected("board") })
}

func TestInterruptEndsTheProgramToo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	p.await("connected", 0, state("connected"))
	p.signal(syscall.SIGINT)
	require.Equal(t, 0, p.wait(10*3*time.Second))
	assert.Contains(t, p.Stderr(), "interrupt")
}
