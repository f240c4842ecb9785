// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// process is a device's process while an event is taken in: what provisioning's loop is to a
// device.
type process struct {
	*Rules
	*ours
	rules *rules.InPlace
	State *rules.State
	id    uint32
	now   time.Time
	do    *doings
}

func (p *process) happens(e event) {
	switch e.kind {
	case boots:
		p.boots()
	case dies:
		p.dies(e)
	case wakes:
		if p.running {
			p.perform(p.rules.Fire(p.now, p.random(p.id)))
		}
	case hubSays:
		if e.gen == p.hubGen && p.running {
			p.hubSays(e)
		}
	case dpsSays:
		if e.gen == p.dpsGen && p.running {
			p.dpsSays(e)
		}
	case polls:
		if e.gen == p.dpsGen && p.running {
			p.ask(service.Poll)
		}
	case lasts:
		if e.gen == p.hubGen && p.State.Connected && p.running {
			p.step(rules.Stable{})
		}
	case linkEnds:
		p.linkEnds()
	}
}

func (p *process) step(e rules.Event) {
	p.perform(p.rules.Step(e, p.now, p.random(p.id)))
}

func (p *process) perform(actions []rules.Action) {
	for _, a := range actions {
		p.carryOut(a)
	}
}

func (p *process) carryOut(a rules.Action) {
	switch a := a.(type) {
	case rules.Connect:
		p.hubGen++
		p.hub = p.hubNamed(a.Target.Hub)
		p.do.ask(service.Request{
			Device: p.id, Kind: service.Connect, Hub: p.hub, WrongClock: p.usesWrongClock(),
			Untrusting: p.takesNoCertificate(),
		}, p.hubGen)
	case rules.CancelConnect:
		p.hubGen++
	case rules.Register:
		p.dpsGen++
		p.polling = a.Operation != ""
		if p.polling {
			p.ask(service.Poll)
			return
		}
		p.ask(service.Register)
	case rules.Lookup:
		p.dpsGen++
		p.polling = false
		p.ask(service.Lookup)
	case rules.CheckClock:
		p.dpsGen++
		p.polling = false
		p.ask(service.Time)
	case rules.CancelDPS:
		p.dpsGen++
	case rules.EndSession:
		p.hubGen++
		p.do.change(p.id, false, p.hub)
	}
}

func (p *process) usesWrongClock() bool { return p.wrongClock && p.Settings.Tokens }

// takesNoCertificate: a request for the time is made by the time of the certificate itself.
func (p *process) takesNoCertificate() bool { return p.wrongClock && p.timeless }

func (p *process) ask(k service.Kind) {
	p.asked = k
	p.do.ask(service.Request{
		Device: p.id, Kind: k, WrongClock: k != service.Time && p.usesWrongClock(),
		Untrusting: k != service.Time && p.takesNoCertificate(),
	}, p.dpsGen)
}

func (p *process) boots() {
	p.running = true
	p.lives++
	p.wrongClock = p.WrongClock != nil && p.WrongClock(p.id)
	boot := rules.Boot{Next: retry.Register}
	if p.lives == 1 {
		if h := p.home(p.id); h.Known {
			boot.Next, boot.Confirmed = retry.Wait, p.assignment(h.Hub)
		}
	} else { // what is stored is what the process before had in its state
		boot.Confirmed, boot.Candidate = p.State.Confirmed, p.State.Candidate
		if p.State.Target().Known() {
			boot.Next = retry.Wait
		}
		boot.Waits = p.waits[p.id].After(p.Restart)
		p.waits[p.id] = nil
	}
	p.timeless = boot.Next != retry.Wait
	*p.State = rules.State{Settings: p.Settings}
	p.step(boot)
	if p.Life == nil {
		return
	}
	if life := p.Life(p.id, int(p.lives)); life > 0 {
		p.do.events = append(p.do.events, event{at: p.do.now + life, device: p.id, kind: dies})
	}
}

// dies: what the process was told to keep is kept where a restart finds it.
func (p *process) dies(e event) {
	p.running = false
	p.hubGen++
	p.dpsGen++
	waits := p.State.Waits(p.now)
	p.waits[p.id] = &waits
	if p.State.Connected {
		p.do.change(p.id, false, p.hub)
	}
	p.do.events = append(p.do.events, event{at: e.at + p.Restart, device: p.id, kind: boots})
}

// linkEnds: the hub ends a connection.
func (p *process) linkEnds() {
	if !p.running || !p.State.Connected {
		return
	}
	p.hubGen++
	p.do.change(p.id, false, p.hub)
	p.step(rules.Lost{
		HubFailure: rules.HubFailure{Class: retry.Unreachable},
		Stable:     p.do.now-p.upSince >= rules.StableAfter,
	})
}
