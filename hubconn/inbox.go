package hubconn

import (
	"sync"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// inboxSize is above the 50 messages that the hub keeps for a device (Azure docs: "IoT Hub quotas and throttling").
const inboxSize = 64

// inbox holds the messages that arrived and that nobody has taken yet. One that finds it full is dropped without being
// acknowledged: it is the hub's still, and comes again.
type inbox struct {
	mu      sync.Mutex
	taken   bool // by a loop over Messages
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

// pop takes the next message, and says how many were dropped since the last time.
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

// clear drops what came over a link that is gone: it can no longer be acknowledged, and comes again over the next one.
func (b *inbox) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.queue = nil
}

// claim makes the caller the one who takes messages, if there is none.
func (b *inbox) claim() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := !b.taken
	b.taken = true
	return free
}

func (b *inbox) release() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = false
	if len(b.queue) > 0 {
		signal(b.arrived)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
