// SPDX-License-Identifier: Apache-2.0

package mqtt

import (
	"encoding/binary"
	"errors"
	"runtime"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
)

const (
	recordSize = 16 << 10 // bytes that are written together: a TLS record
	// maxPending bounds what may wait to be written besides messages, which are bounded by maxLoad:
	// the acknowledgements of a server that goes on sending and reads none of them.
	maxPending = 2 * maxLoad
)

// Write is Paho's. It queues one packet, and never waits for the network, so neither does a call
// into Paho; and it never fails: an error ends the connection, and Paho learns of that by Read.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.err == nil {
		t.queue(p)
		switch body := p[headLen(p):]; p[0] >> 4 {
		case typeConnect:
			// Paho was told of no keep-alive, since its own pings come too late and go unbounded.
			// The server is told of it here: MQTT 3.1.1 §3.1.2, after the protocol's name, level
			// and flags.
			at := t.pending[len(t.pending)-len(body)+8:]
			binary.BigEndian.PutUint16(at, uint16(t.options.KeepAlive/time.Second))
		case typeSubscribe:
			t.ask(typeSuback, body)
		case typeUnsubscribe:
			t.ask(typeUnsuback, body)
		}
	}
	t.mu.Unlock()
	t.wake()
	return len(p), nil
}

func (t *tap) queue(p []byte) {
	t.pending = append(t.pending, p...)
	t.queued += uint64(len(p))
}

func (t *tap) ask(answer byte, body []byte) {
	t.asked = append(t.asked, question{answer, binary.BigEndian.Uint16(body), t.queued})
}

// headLen is the length of a packet's fixed header.
func headLen(p []byte) int {
	n := 1
	for p[n]&0x80 != 0 {
		n++
	}
	return n + 1
}

// packetLen is the length of the first packet in p.
func packetLen(p []byte) int {
	length, n := 0, headLen(p)
	for i := 1; i < n; i++ {
		length |= int(p[i]&0x7f) << (7 * (i - 1))
	}
	return n + length
}

// wake tells the writer that there may be something to write.
func (t *tap) wake() {
	select {
	case t.some <- struct{}{}:
	default:
	}
}

// writeLoop writes what is pending until the connection ends. All that has gathered while it was
// writing goes out together. After Close it writes what is left, and says goodbye.
func (t *tap) writeLoop() {
	defer t.stopGoodbye()
	defer dial.Abort(t.nc) // also when the network fails on the goodbye
	for {
		batch, ping, ok := t.next()
		if !ok {
			break
		}
		for len(batch) > 0 {
			n := t.hand(batch)
			if _, err := t.nc.Write(batch[:n]); err != nil {
				t.fail(err)
				return
			}
			t.wrote(n)
			batch = batch[n:]
		}
		if ping {
			t.ping()
		}
	}
	if !errors.Is(t.cause(), ErrClosed) {
		return
	}
	_, _ = t.nc.Write([]byte{0xe0, 0x00})
	_ = t.nc.Close()
}

func (t *tap) stopGoodbye() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.goodbye != nil {
		t.goodbye.Stop()
	}
}

// next waits for something to write; not ok is the end.
func (t *tap) next() (batch []byte, ping, ok bool) {
	for {
		t.mu.Lock()
		switch {
		case t.err != nil && !errors.Is(t.err, ErrClosed):
			t.mu.Unlock()
			return nil, false, false
		case len(t.pending) > 0 || t.life.wanted:
			batch, ping = t.pending, t.life.wanted
			t.pending, t.spare = t.spare[:0], batch
			t.life.wanted = false
			t.mu.Unlock()
			return batch, ping, true
		case t.err != nil:
			t.mu.Unlock()
			return nil, false, false
		}
		t.mu.Unlock()
		<-t.some          // also at the end
		runtime.Gosched() // let everyone who is about to send put his packet in the same batch
	}
}

// hand returns how many bytes of batch are to be written next, and notes that the network gets
// them.
func (t *tap) hand(batch []byte) int {
	n := min(len(batch), recordSize)
	if t.packets {
		n = packetLen(batch)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if batch[0]>>4 == typeConnect && t.connect.IsZero() {
		t.connect = time.Now()
	}
	t.handed += uint64(n)
	return n
}

// wrote notes that the network has taken what it was handed.
func (t *tap) wrote(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.written += uint64(n)
	t.life.sent = now
	t.window.wrote(t.written, now)
	t.grant()
	if t.window.used > 0 {
		t.arm(now + t.lateness())
	}
}

// now is the time as the tap counts it, in nanoseconds.
func (t *tap) now() int64 { return int64(time.Since(t.start)) }
