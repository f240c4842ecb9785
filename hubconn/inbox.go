package hubconn

import (
	"sync"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// inboxSize is above the 50 messages that the hub keeps for a device (Azure docs: "IoT Hub quotas and throttling").
const inboxSize = 64

// inbox holds the messages that arrived and that no loop over Messages has received yet. A message
// that finds it full is dropped and not acknowledged: the hub keeps it, and sends it again.
type inbox struct {
	mu      sync.Mutex
	claimed bool // by a loop over Messages
	queue   []mqtt.Message
	dropped int
	arrived chan struct{} // holds one token when the queue may have something
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{}, 1)} }

func (b *inbox) push(m mqtt.Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.queue) == inboxSize {
		b.dropped++
		return
	}
	b.queue = append(b.queue, m)
	signal(b.arrived)
}

// pop removes the next message, and returns how many were dropped since the last pop.
func (b *inbox) pop() (m mqtt.Message, ok bool, dropped int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	dropped, b.dropped = b.dropped, 0
	if len(b.queue) == 0 {
		return m, false, dropped
	}
	m = b.queue[0]
	b.queue[0] = mqtt.Message{}
	b.queue = b.queue[1:]
	return m, true, dropped
}

// clear drops what came over a link that has ended: it can no longer be acknowledged, and the hub
// sends it again over the next one.
func (b *inbox) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = nil
}

// claim reserves the inbox for the caller, unless another loop has it.
func (b *inbox) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := !b.claimed
	b.claimed = true
	return free
}

func (b *inbox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.claimed = false
	if len(b.queue) > 0 {
		signal(b.arrived)
	}
}

// signal puts a token into c, unless there is one already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
