// SPDX-License-Identifier: Apache-2.0

package mqtt

import "time"

const (
	pingTimeout = 10 * time.Second // for a sign of life after a PINGREQ
	lateAfter   = 30 * time.Second // a PUBACK that takes longer is asked after by a PINGREQ
	pingMargin  = 15 * time.Second // between a PINGREQ and the end of the keep-alive
	// slowest is the least that a link is taken to carry, in bytes a second: what was written
	// before a PINGREQ may still be on its way, in buffers that nobody sees into.
	slowest = 2 << 10
)

// life is how a connection is known to be alive: any byte of the server is a sign of it. One timer
// serves all its limits. The tap's lock guards it; times are in nanoseconds from the tap's start.
type life struct {
	_ [0]func() // never compared, which saves code in a device's program

	timer    *time.Timer
	armed    int64 // when the timer runs; 0: it does not
	sent     int64 // when a byte left last
	wanted   bool  // the writer is to write a PINGREQ
	pinged   int64 // when a PINGREQ was written that nothing followed; 0: none was
	patience int64 // how long that may take
}

// interval is the longest silence before a PINGREQ: so much less than the keep-alive that it
// arrives in time, also late.
func (t *tap) interval() int64 {
	k := t.options.KeepAlive
	return int64(k - min(k/2, pingMargin))
}

// lateness is after how long a PUBACK that has not come has to be seen to.
func (t *tap) lateness() int64 {
	if limit := t.options.AckTimeout; limit > 0 {
		return int64(min(lateAfter, limit))
	}
	return int64(lateAfter)
}

// begin starts the care for a connection that is up.
func (t *tap) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.arm(t.now() + t.interval())
	t.release()
}

// release gives back memory for packets that may not be needed for a while; mu is held.
func (t *tap) release() {
	if t.queued == t.written {
		t.pending, t.spare = nil, nil
	}
}

// arm makes check run no later than at the given time.
func (t *tap) arm(at int64) {
	l := &t.life
	if t.err != nil || l.armed != 0 && l.armed <= at {
		return
	}
	l.armed = at
	l.timer.Reset(time.Duration(at - t.now()))
}

// heard is when the server was heard last.
func (t *tap) heard() int64 { return int64(t.line.lastHeard().Sub(t.start)) }

// ping writes a PINGREQ. Its time begins before it is written, because a full send buffer is a
// silent peer too; but not before its turn has come, because behind a long message it may wait for
// as long as that makes progress.
func (t *tap) ping() {
	t.mu.Lock()
	now := t.now()
	t.life.sent = now
	if t.life.pinged == 0 { // else the response to the first is still on its way
		_, size := t.window.owed()
		t.life.pinged = now
		t.life.patience = int64(pingTimeout) + int64(size)*int64(time.Second)/slowest
	}
	t.arm(now + min(int64(pingTimeout), t.interval()))
	t.mu.Unlock()
	if _, err := t.nc.Write([]byte{typePingreq << 4, 0}); err != nil {
		t.fail(err)
	}
}

// check is what the timer does: ask for a sign of life, or end a connection that gives none.
func (t *tap) check() {
	t.mu.Lock()
	t.life.armed = 0
	if t.err != nil {
		t.mu.Unlock()
		return
	}
	now, heard := t.now(), t.heard()
	late := t.review(now, heard)
	t.mu.Unlock()
	if late != nil {
		t.fail(late)
	}
}

// review is check with mu held: it returns why the connection is to end, or sets the timer anew.
func (t *tap) review(now, heard int64) error {
	l := &t.life
	since, _ := t.window.owed()
	next := min(l.sent, heard) + t.interval()
	if since != 0 {
		next = min(next, max(since, heard)+int64(lateAfter))
	}
	if now >= next { // also while a response is under way: the server counts what it gets
		l.wanted = true
		t.wake()
		next = now + int64(lateAfter)
	}
	if l.pinged != 0 {
		end := max(l.pinged, heard) + l.patience
		if now >= end {
			return &TimeoutError{For: "PINGRESP", After: time.Duration(l.patience)}
		}
		next = min(next, end)
	}
	if limit := int64(t.options.AckTimeout); limit > 0 && since != 0 {
		if now-since >= limit {
			return &TimeoutError{For: "acknowledgement", After: t.options.AckTimeout}
		}
		next = since + min(next-since, limit) // which may be the longest time there is
	}
	t.release() // nothing has been written for a while
	t.arm(next)
	return nil
}
