// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// Behaviour is what the devices of a fleet do. It is called for different devices at the same time.
type Behaviour interface {
	// begin says what happens to a device of itself. Each worker has devices of its own.
	begin(device uint32, do *doings)

	// expect is told of some events before they are handled: what they need is far away in memory,
	// and comes sooner if it is asked for all at once.
	expect(events []event) (sum uint64)

	// handle takes in an event, and says when a timer is due next; never is that none is.
	handle(e event, do *doings) (wake time.Duration)
}

const never = time.Duration(1<<63 - 1)

// Change is a connection that came up or went down.
type Change struct {
	At     time.Duration
	Device uint32
	Up     bool
	Hub    service.Hub
}

// Engine plays a fleet in front of a world.
type Engine struct {
	Devices   int
	World     *service.World
	Behaviour Behaviour

	// Latency is the time from a request to its answer. 0: none.
	Latency time.Duration

	// Until is when the simulation ends at the latest: nothing happens then, or later. 0: never.
	Until time.Duration

	// Asked is told every request, and its answer, in the order of the services.
	Asked func(service.Request, service.Answer)

	// Changed is told every connection that comes up or goes down, in order.
	Changed func(Change)

	// Tick is called after each batch with the time reached; true ends the simulation.
	Tick func(now time.Duration) (done bool)

	// Check looks after each batch whether a device is lost: pending and connected devices are all.
	// It takes time in proportion to the fleet.
	Check bool

	// Ledger is made by Run: what the services have asked for, and who came early.
	Ledger *service.Ledger

	instantly bool // play one instant after the other, whatever Latency is: for a test

	devices []device
	workers []*doings
	batch   time.Duration // the last moment of the one that is played
	last    time.Duration // that is played of it
	over    bool          // the workers are to end
	now     time.Duration
	err     error
}

// device is what the engine knows of one.
type device struct {
	queued  time.Duration // the earliest wake in the queue; never: there is none
	pending int16         // answers and other events in the queue that will happen to it
	up      bool
}

// Now is the time that has been reached.
func (e *Engine) Now() time.Duration { return e.now }

// Run plays until Tick says that it is done, until Until, or until nothing is going to happen any
// more. It returns the cause of ctx if that has ended before.
func (e *Engine) Run(ctx context.Context) error {
	e.begin()
	defer e.dismiss()
	for round := 0; ; round++ {
		if round%256 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		events := e.nextBatch()
		if events == 0 {
			return e.nobodyLost()
		}
		last := e.batch
		ends := e.Until > 0 && last >= e.Until
		if ends {
			last = e.Until - 1
		}
		e.play(last, events)
		e.now = last
		if e.Check {
			e.check()
		}
		if e.err != nil {
			return e.err
		}
		if e.Tick != nil && e.Tick(e.now) || ends {
			return nil
		}
	}
}

// nextBatch finds the batch to play next, and how many events it has at least; 0 is that none
// comes.
func (e *Engine) nextBatch() (events int) {
	e.batch = never
	for _, w := range e.workers {
		var n int
		w.due, n = w.queue.next(w.soonest)
		if w.due < e.batch {
			e.batch, events = w.due, 0
		}
		if w.due == e.batch {
			events += n + len(w.answers)
		}
	}
	return events
}

func (e *Engine) begin() {
	e.devices = make([]device, e.Devices)
	e.Ledger = service.NewLedger(e.Devices, len(e.World.Hubs))
	e.workers = make([]*doings, min(runtime.GOMAXPROCS(0), maxWorkers))
	for i := range e.workers {
		e.workers[i] = &doings{
			worker: i, ledger: e.Ledger, queue: e.newQueue(), soonest: never,
			begin: newSignal(), end: newSignal(),
		}
	}
	for i := range e.devices {
		e.devices[i].queued = never
		w := e.workers[e.workerOf(uint32(i))]
		e.Behaviour.begin(uint32(i), w)
		e.file(w, &w.events)
	}
	e.announce(e.workers)
	for _, w := range e.workers[1:] {
		go e.work(w)
	}
}

func (e *Engine) newQueue() queue {
	if e.Latency > 0 && !e.instantly {
		return newCalendar(e.Latency)
	}
	return &instants{}
}

// file puts into a worker's queue what its devices have coming.
func (e *Engine) file(w *doings, coming *[]event) {
	for _, next := range *coming {
		if next.kind != wakes {
			e.devices[next.device].pending++
		}
		w.queue.push(next)
	}
	*coming = (*coming)[:0]
}

// fileAnswers puts into a worker's queue what the services have said to its devices.
func (e *Engine) fileAnswers(w *doings) {
	e.file(w, &w.answers)
	w.soonest = never
}

// least is for how few events another goroutine is not worth its being told.
const least = 16

// play plays a batch, up to last: first each device for itself, then the services.
func (e *Engine) play(last time.Duration, events int) {
	e.last = last
	for i := len(e.workers) - 1; i >= 0; i-- {
		w := e.workers[i]
		w.reset()
		switch {
		case w.due != e.batch:
		case i == 0 || events < least:
			e.playDevices(w)
		default:
			w.told++
			w.begin.raise()
		}
	}
	for _, w := range e.workers {
		w.end.wait(w.told)
	}
	e.settle()
}

// work is what the goroutine of a worker does, but for the first: that is the engine's own.
func (e *Engine) work(w *doings) {
	for n := uint64(1); ; n++ {
		w.begin.wait(n)
		if e.over {
			return
		}
		e.playDevices(w)
		w.end.raise()
	}
}

// dismiss ends the goroutines of the workers.
func (e *Engine) dismiss() {
	e.over = true
	for _, w := range e.workers[1:] {
		w.begin.raise()
	}
}

// ahead is for how many events together what they need is asked for: more would not stay near.
const ahead = 64

// playDevices plays the events of a worker's devices, and the wakes that come of them. What would
// happen after the last moment is left out: the simulation has ended by then.
func (e *Engine) playDevices(do *doings) {
	e.fileAnswers(do)
	do.batch = do.queue.pop(do.batch[:0])
	events := do.batch
	if e.last < e.batch {
		events = slices.DeleteFunc(events, func(n event) bool { return n.at > e.last })
	}
	slices.SortFunc(events, before)
	expected := 0 // of the events that are left
	for len(events) > 0 {
		if expected <= 0 {
			expected = min(ahead, len(events))
			do.sum += e.expect(events[:expected])
		}
		n := 1
		for n < len(events) && events[n].device == events[0].device {
			n++
		}
		e.playDevice(events[:n], do)
		events, expected = events[n:], expected-n
	}
	slices.SortFunc(do.requests, sooner)
	e.file(do, &do.events)
}

func (e *Engine) expect(events []event) (sum uint64) {
	for _, next := range events {
		sum += uint64(e.devices[next.device].pending) + e.Ledger.Expect(next.device)
	}
	return sum + e.Behaviour.expect(events)
}

func (e *Engine) playDevice(events []event, do *doings) {
	id := events[0].device
	d := &e.devices[id]
	wake := never
	asked := false // when it wakes next
	for len(events) > 0 || wake <= e.last {
		next := event{at: wake, device: id, kind: wakes}
		switch {
		case len(events) == 0 || wake < events[0].at:
		case events[0].kind == wakes:
			if next, events = events[0], events[1:]; next.at != d.queued {
				continue // another came before it
			}
			d.queued = never
		default:
			next, events = events[0], events[1:]
			d.pending--
		}
		do.now = next.at
		wake = max(e.Behaviour.handle(next, do), next.at)
		asked = true
	}
	if asked && wake < d.queued {
		d.queued = wake
		do.events = append(do.events, event{at: wake, device: id, kind: wakes})
	}
}

// settle lets the services answer what a batch has asked, in order.
func (e *Engine) settle() {
	e.announce(e.workers)
	for r, w := e.nextRequest(); r != nil; r, w = e.nextRequest() {
		a := e.World.Answer(r.Request)
		if e.Asked != nil && a.Outcome != service.Untrusted { // else nothing has been asked
			e.Asked(r.Request, a)
		}
		kind := dpsSays
		if r.Kind == service.Connect {
			kind = hubSays
		}
		at := r.At + e.Latency + a.Takes
		w.soonest = min(w.soonest, at)
		w.answers = append(w.answers, event{
			at: at, device: r.Device, kind: kind, gen: r.gen,
			what: uint8(a.Outcome), hub: uint8(a.Hub), wait: a.RetryAfter,
		})
	}
}

// announce tells of the connections that came up and went down, in order.
func (e *Engine) announce(workers []*doings) {
	all := workers[0].changes
	for _, w := range workers[1:] {
		all = append(all, w.changes...)
		w.changes = w.changes[:0]
	}
	workers[0].changes = all[:0]
	slices.SortStableFunc(all, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Device, b.Device))
	})
	for _, c := range all {
		e.devices[c.Device].up = c.Up
		if e.Changed != nil {
			e.Changed(c)
		}
	}
}

var errLost = errors.New("a device is lost: nothing is going to happen to it")

// check counts the devices that are connected and those that wait for something: they are all.
func (e *Engine) check() {
	for _, w := range e.workers {
		e.fileAnswers(w)
	}
	for i := range e.devices {
		if d := &e.devices[i]; !d.up && d.queued == never && d.pending == 0 {
			e.err = fmt.Errorf("%w: device %d at %v", errLost, i, e.now)
		}
	}
}

// nobodyLost is the check of a simulation in which nothing is going to happen any more.
func (e *Engine) nobodyLost() error {
	e.check()
	return e.err
}
