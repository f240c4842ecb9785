// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"sync"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// inboxSize is above the 50 messages that the hub keeps for a device (Azure docs: "IoT Hub quotas
// and throttling").
const inboxSize = 64

// inbox holds the messages that arrived and that no loop over Messages has received yet. A message
// that finds it full is dropped and not acknowledged: the hub keeps it, and sends it again.
type inbox struct {
	mu      sync.Mutex
	claimed bool // by a loop over Messages
	paused  bool // no message is handed out: the link is about to be replaced
	shut    bool // nothing is taken in: the link is about to be closed
	queue   []mqtt.Message
	body    *handed       // what the loop body has; nil: it has none
	free    chan struct{} // closed when it has none; nil: nobody waits for that
	dropped int
	former  former        // what came over former links
	arrived chan struct{} // holds one token after a push or resume; nil before any loop
}

func (b *inbox) push(m mqtt.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut || b.former.recognise(m, b.body) {
		return
	}
	if len(b.queue) == inboxSize {
		b.dropped++
		b.former.unsure = true
		return
	}
	b.queue = append(b.queue, m)
	signal(b.arrived)
}

// pop hands the next message to a loop body, and returns how many were dropped since the last pop.
func (b *inbox) pop() (m mqtt.Message, ok bool, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped, b.dropped = b.dropped, 0
	if len(b.queue) == 0 || b.paused {
		return m, false, dropped
	}
	m = b.queue[0]
	b.queue[0] = mqtt.Message{}
	b.queue = b.queue[1:]
	b.body = &handed{id: identify(m), ack: m.Ack}
	return m, true, dropped
}

// finish acknowledges the message that the loop body has had, if that has done with it; a body that
// panicked has not.
func (b *inbox) finish(done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	body := b.body
	b.body = nil
	switch {
	case !done:
		b.former.unsure = true
	case body.ack != nil:
		body.ack() // never waits; under the lock, so that detach comes before it or after it
	default:
		b.former.finished(body.id)
	}
	if b.free != nil {
		close(b.free)
		b.free = nil
	}
}

// pause lets no further message into a loop body, and returns a channel that is closed when none is
// in one.
func (b *inbox) pause() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = true
	if b.free == nil {
		b.free = make(chan struct{})
	}
	free := b.free
	if b.body == nil {
		close(b.free)
		b.free = nil
	}
	return free
}

// resume ends a pause.
func (b *inbox) resume() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.paused = false
	signal(b.arrived)
}

// detach is called before a link is closed, which is the last moment at which what came over it can
// be acknowledged: the hub sends the rest again over the next one. It is idempotent. If it is the
// last call before the link is closed, what still comes is not taken in: a loop body would
// acknowledge it over that link.
func (b *inbox) detach(last bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shut = last
	b.former.leave(b.body, b.queue)
	b.queue = nil
}

// attach is called when a link has come into use.
func (b *inbox) attach() {
	b.resume()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.former.attached, b.former.offered = true, b.claimed
}

// claim reserves the inbox for the caller, unless another loop has it.
func (b *inbox) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := !b.claimed
	b.claimed = true
	if b.arrived == nil {
		b.arrived = make(chan struct{}, 1)
	}
	b.former.offered = true
	return free
}

func (b *inbox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claimed = false
}

// signal puts a token into c, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
