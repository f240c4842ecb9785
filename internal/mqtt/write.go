package mqtt

import (
	"context"
	"runtime"
	"time"
)

const (
	writeStep = 4 << 10   // bytes that have to leave within one write timeout
	batchSize = 16 << 10  // bytes of several packets that are written together: a TLS record
	maxLoad   = 256 << 10 // bytes on their way above which the next message waits; one larger than that goes alone
	keepSize  = 64 << 10  // capacity of an outbox that is kept for the next packets
)

// outbox is packets, one after another.
type outbox struct {
	bytes []byte
	ends  []int // where in bytes each packet ends
}

func (o *outbox) add(p []byte) {
	o.bytes = append(o.bytes, p...)
	o.ends = append(o.ends, len(o.bytes))
}

// reset makes an outbox empty; its memory is used again unless it is much.
func (o *outbox) reset() {
	if cap(o.bytes) > keepSize {
		*o = outbox{}
		return
	}
	o.bytes, o.ends = o.bytes[:0], o.ends[:0]
}

// Write queues one packet. It never waits for the network, so neither does a call into Paho; and it
// never fails: an error ends the connection, and Paho learns of that by Read.
func (t *tap) Write(p []byte) (int, error) {
	t.mu.Lock()
	if t.err == nil {
		t.pending.add(p)
		t.load += len(p)
		t.queued += uint64(len(p))
	}
	t.mu.Unlock()
	select {
	case t.some <- struct{}{}:
	default:
	}
	return len(p), nil
}

// writeLoop writes what is pending until the connection ends. All that has gathered while it was writing goes out together.
func (t *tap) writeLoop() {
	defer close(t.drained)
	var batch outbox
	for {
		select {
		case <-t.some:
		case <-t.ctx.Done():
			return
		}
		runtime.Gosched() // let everyone who is about to send put his packet in the same batch
		t.mu.Lock()
		batch, t.pending = t.pending, batch
		t.mu.Unlock()
		select {
		case t.slot <- struct{}{}:
		case <-t.ctx.Done():
			return
		}
		t.flush(batch)
		<-t.slot
		batch.reset()
	}
}

// flush writes the packets of a batch, in groups.
func (t *tap) flush(batch outbox) {
	_, whole := t.nc.(stepper) // a WebSocket message has one packet
	start := 0
	for i := 0; i < len(batch.ends) && t.cause() == nil; {
		end, acks := batch.ends[i], 0
		switch kind := batch.bytes[start] >> 4; kind {
		case typeConnect:
			t.connect = time.Now()
		case typePingreq:
			t.expectPingresp()
		case typePuback:
			acks++
		}
		for i++; !whole && i < len(batch.ends) && batch.ends[i]-start <= batchSize; i++ {
			kind := batch.bytes[end] >> 4
			if kind == typePingreq {
				break // its time starts when its turn has come
			}
			if kind == typePuback {
				acks++
			}
			end = batch.ends[i]
		}
		if _, err := t.write(batch.bytes[start:end], t.step); err != nil {
			t.fail(err)
			return
		}
		t.wrote(end-start, acks)
		start = end
	}
}

// wrote notes what has left.
func (t *tap) wrote(n, acks int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.load -= n
	t.written += uint64(n)
	t.move()
	if t.unsent == 0 || acks == 0 {
		return
	}
	if t.unsent -= min(acks, t.unsent); t.unsent == 0 {
		close(t.sent)
		t.sent = nil
	}
}

// flushed waits until all that is pending now has left.
func (t *tap) flushed(ctx context.Context) error {
	t.mu.Lock()
	goal := t.queued
	for t.err == nil && t.written < goal {
		moved := t.moves()
		t.mu.Unlock()
		select {
		case <-moved:
		case <-t.ctx.Done():
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		t.mu.Lock()
	}
	defer t.mu.Unlock()
	if t.written < goal {
		return &LostError{Err: t.err}
	}
	return nil
}

// expectPingresp starts the wait for a PINGRESP before the PINGREQ is written, because a full send buffer is a silent peer
// too; but not before its turn has come, because behind a long message it may wait for as long as that makes progress.
func (t *tap) expectPingresp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err == nil {
		t.ping.Reset(pingTimeout)
	}
}

// stepper is a connection that keeps a packet together although each part of it has a deadline of its own.
type stepper interface {
	writeSteps(p []byte, size int, step time.Duration) (int, error)
}

// write gives each part of p its own deadline, so that a slow link may take its time over a long message, while one that
// makes no progress is noticed.
func (t *tap) write(p []byte, step time.Duration) (int, error) {
	if s, ok := t.nc.(stepper); ok {
		return s.writeSteps(p, writeStep, step)
	}
	written := 0
	for written < len(p) {
		_ = t.nc.SetWriteDeadline(time.Now().Add(step))
		n, err := t.nc.Write(p[written:min(len(p), written+writeStep)])
		written += n
		if err != nil {
			return written, err
		}
	}
	return written, nil
}
