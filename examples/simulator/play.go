// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// moment is something that happens at a time of a scenario.
type moment struct {
	at   time.Duration
	what string
	do   func() error
	slow bool // it waits for a device, and those after it do not wait for it
}

// first reports whether a moment is in force before anybody is told that the simulator is ready:
// what takes a device's answer cannot be.
func (m moment) first() bool { return m.at == 0 && !m.slow }

// begin does what a scenario has for its beginning, so that whoever reads the ready line finds it
// done.
func (s *simulator) begin(sc *scenario) {
	for _, m := range s.plan(sc) {
		if m.first() {
			_ = s.carryOut(m) // it is in the log
		}
	}
}

// plan is all that happens in a scenario, in its order.
func (s *simulator) plan(sc *scenario) (moments []moment) {
	for i := range sc.Steps {
		moments = append(moments, s.moments(&sc.Steps[i])...)
	}
	slices.SortStableFunc(moments, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return moments
}

// play plays what a scenario has after its beginning in the background, until ctx ends.
func (s *simulator) play(ctx context.Context, sc *scenario) {
	s.tasks.Go(func() { s.perform(ctx, sc, true) })
}

// perform plays a scenario until its end, or ctx's. When it has begun, what begin has done is left
// out, but not when it is repeated.
func (s *simulator) perform(ctx context.Context, sc *scenario, begun bool) {
	moments := s.plan(sc)
	if len(moments) == 0 {
		return
	}
	var slow sync.WaitGroup
	defer slow.Wait()
	for from := time.Now(); ; from = from.Add(time.Duration(sc.Repeat)) {
		for _, m := range moments {
			if begun && m.first() {
				continue
			}
			if !sleep(ctx, time.Until(from.Add(m.at))) {
				return
			}
			if m.slow {
				slow.Go(func() { _ = s.carryOut(m) })
				continue
			}
			_ = s.carryOut(m)
		}
		begun = false
		if sc.Repeat == 0 || !sleep(ctx, time.Until(from.Add(time.Duration(sc.Repeat)))) {
			return
		}
	}
}

// carryOut does what happens at a moment, and logs it.
func (s *simulator) carryOut(m moment) error {
	err := m.do()
	if err != nil {
		s.log.Warn("scenario", "at", m.at, "step", m.what, "error", err)
		return err
	}
	s.log.Info("scenario", "at", m.at, "step", m.what)
	return nil
}

// moments are the beginning of a step and, if it has one, its end.
func (s *simulator) moments(st *step) []moment {
	begin := moment{at: time.Duration(st.At)}
	var undo *moment
	if st.For > 0 {
		undo = &moment{at: time.Duration(st.At + st.For)}
	}
	begin.do = func() error { return nil }
	switch {
	case st.Network != nil:
		n := st.Network
		begin.what = strings.Join(slices.DeleteFunc([]string{
			"network of", n.Host, named(n.Fault), named(n.Certificate),
		}, func(s string) bool { return s == "" }), " ")
		begin.do = func() error { s.setNetwork(n); return nil }
		if undo != nil {
			undo.what, undo.do = "network of "+n.Host+" as it was", func() error {
				s.setNetwork(&networkStep{Host: n.Host})
				return nil
			}
		}
	case st.ClockOffset != nil:
		offset := time.Duration(*st.ClockOffset)
		begin.what, begin.do = "clock offset "+offset.String(), func() error {
			s.network.SetClockOffset(offset)
			return nil
		}
		if undo != nil {
			undo.what, undo.do = "clock as it was", func() error {
				s.network.SetClockOffset(0)
				return nil
			}
		}
	case st.Cut != "":
		begin.what, begin.do = "cut "+st.Cut, func() error { s.network.Cut(st.Cut); return nil }
	case st.DPS != nil:
		begin.what, begin.do = "dps fault on "+cmp.Or(st.DPS.On.String(), "any request"),
			func() error { s.dps.Inject(*st.DPS); return nil }
	case st.Hub != nil:
		begin.what, begin.do = "fault of "+st.Hub.Host+" on "+st.Hub.On.String(), func() error {
			s.hub(st.Hub.Host).Inject(st.Hub.Fault)
			return nil
		}
	case st.Move != nil:
		begin.what, begin.do = "move "+st.Move.RegistrationID+" to "+
			st.Move.Hub, func() error { return s.dps.Move(st.Move.RegistrationID, st.Move.Hub) }
	case st.MoveNow != nil:
		begin.what = "move " + st.MoveNow.RegistrationID + " now to " + st.MoveNow.Hub
		begin.do = func() error { return s.dps.MoveNow(st.MoveNow.RegistrationID, st.MoveNow.Hub) }
	case st.Disable != "":
		begin.what, begin.do = "disable "+
			st.Disable, func() error { return s.dps.SetEnabled(st.Disable, false) }
	case st.Enable != "":
		begin.what, begin.do = "enable "+
			st.Enable, func() error { return s.dps.SetEnabled(st.Enable, true) }
	case st.Unlink != "":
		begin.what, begin.do = "unlink "+st.Unlink, func() error {
			s.dps.Unlink(st.Unlink)
			return nil
		}
	case st.Link != "":
		begin.what, begin.do = "link "+st.Link, func() error { return s.link(st.Link) }
	case st.Disconnect != nil:
		begin.what = "disconnect " + st.Disconnect.DeviceID + " from " + st.Disconnect.Hub
		begin.do = func() error {
			s.hub(st.Disconnect.Hub).Disconnect(st.Disconnect.DeviceID)
			return nil
		}
	case st.Clear:
		begin.what, begin.do = "clear", func() error { s.clear(); return nil }
	default:
		s.operate(st, &begin)
	}
	if undo != nil {
		return []moment{begin, *undo}
	}
	return []moment{begin}
}

// named is the text of a fault or certificate for the log, "" for the zero one: nothing is wrong.
func named[T interface {
	~int
	String() string
}](v T) string {
	if v == 0 {
		return ""
	}
	return v.String()
}

func (s *simulator) setNetwork(n *networkStep) {
	s.network.SetFault(n.Host, n.Fault)
	s.network.SetCertificate(n.Host, n.Certificate)
	s.network.Stall(n.Host, n.Stall)
}

func (s *simulator) clear() {
	s.dps.ClearFaults()
	for _, h := range s.hubs {
		h.ClearFaults()
	}
}

// hub returns a hub of the configuration.
func (s *simulator) hub(name string) *hubtest.Hub {
	i := slices.IndexFunc(s.hubs, func(h *hubtest.Hub) bool {
		return strings.EqualFold(h.Host(), name)
	})
	return s.hubs[i]
}

// sleep reports false when ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
