// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"cmp"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// doings is one worker: what its devices have coming, and what they do while a batch is played.
type doings struct {
	worker  int
	sum     uint64 // keeps the compiler from leaving out what is only read
	ledger  *service.Ledger
	queue   queue
	answers []event       // that are not in the queue yet: it is the worker who puts them there
	soonest time.Duration // of the answers; never: there is none
	due     time.Duration // the last moment of its next batch
	told    uint64        // how many batches its goroutine was told to play
	begin   *signal       // that it is told
	end     *signal       // that it has

	now      time.Duration
	batch    []event
	requests []asked
	next     int // of the requests: the first that is not answered
	events   []event
	changes  []Change
}

type asked struct {
	service.Request
	gen   uint8
	order uint32 // of the requests of one device in a batch
}

// sooner orders requests as the services take them in.
func sooner(a, b asked) int {
	if a.At != b.At {
		return cmp.Compare(a.At, b.At)
	}
	if a.Device != b.Device {
		return cmp.Compare(a.Device, b.Device)
	}
	return cmp.Compare(a.order, b.order)
}

func (d *doings) reset() {
	d.requests, d.events, d.changes = d.requests[:0], d.events[:0], d.changes[:0]
	d.next = 0
}

// ask sends a request now.
func (d *doings) ask(r service.Request, gen uint8) {
	r.At = d.now
	d.ledger.Asked(r)
	d.requests = append(d.requests, asked{r, gen, uint32(len(d.requests))})
}

func (d *doings) change(device uint32, up bool, hub service.Hub) {
	d.changes = append(d.changes, Change{At: d.now, Device: device, Up: up, Hub: hub})
}

// received tells the ledger of an answer, if a service has given one.
func (d *doings) received(e event, k service.Kind, hub service.Hub) {
	if service.Outcome(e.what) == service.Untrusted {
		return
	}
	a := service.Answer{Outcome: service.Outcome(e.what), RetryAfter: e.wait}
	d.ledger.Received(service.Request{Device: e.device, Kind: k, Hub: hub}, a, e.at)
}

// maxWorkers is how many cores are of use.
const maxWorkers = 8

// workerOf is the one that plays a device: always the same.
func (e *Engine) workerOf(device uint32) int {
	return int(uint64(device) * uint64(len(e.workers)) / uint64(e.Devices))
}

// nextRequest takes the first request of all workers, and says whose it is; nil is that there is
// none.
func (e *Engine) nextRequest() (*asked, *doings) {
	var from *doings
	for _, w := range e.workers {
		if w.next < len(w.requests) && (from == nil ||
			sooner(w.requests[w.next], from.requests[from.next]) < 0) {
			from = w
		}
	}
	if from == nil {
		return nil, nil
	}
	from.next++
	return &from.requests[from.next-1], from
}
