// SPDX-License-Identifier: Apache-2.0

package service

import (
	"sync/atomic"
	"time"
)

const (
	// LongestHonoured bounds what a service may ask for: a device does not have to wait longer.
	LongestHonoured = 24 * time.Hour

	// FirstRetry is how long a device has to leave a service alone at least that has failed.
	FirstRetry = 5 * time.Second
)

// Ledger is what the services have asked of each device, as far as the device has received it, and
// how often one came too early all the same. Devices may ask and receive at the same time.
type Ledger struct {
	places int // of each device: DPS, then each hub
	kept   []asked

	beforeRetryAfter, soonAfterFailure atomic.Int64
}

// BeforeRetryAfter counts the requests before min(Retry-After, 24 h) was over.
func (l *Ledger) BeforeRetryAfter() int { return int(l.beforeRetryAfter.Load()) }

// SoonAfterFailure counts those within 5 s of a 5xx, or of its like at a hub. A question for the
// time has its answer with one, too: what it was asked before may follow.
func (l *Ledger) SoonAfterFailure() int { return int(l.soonAfterFailure.Load()) }

// asked is what one service has asked of one device.
type asked struct {
	notBefore time.Duration
	failed    time.Duration // when its last answer was a 5xx; 0: it was not
}

// NewLedger is a ledger for so many devices and hubs.
func NewLedger(devices, hubs int) *Ledger {
	return &Ledger{places: hubs + 1, kept: make([]asked, devices*(hubs+1))}
}

func (l *Ledger) of(r Request) *asked {
	place := int(r.Device) * l.places
	if r.Kind == Connect {
		place += 1 + int(r.Hub)
	}
	return &l.kept[place]
}

// Expect is told of a device that may ask, or receive: what is kept of it comes nearer.
func (l *Ledger) Expect(device uint32) (sum uint64) {
	return uint64(l.kept[int(device)*l.places].notBefore)
}

// Asked checks a request.
func (l *Ledger) Asked(r Request) {
	k := l.of(r)
	if r.At < k.notBefore {
		l.beforeRetryAfter.Add(1)
	}
	if k.failed > 0 && r.At < k.failed+FirstRetry {
		l.soonAfterFailure.Add(1)
	}
}

// Received takes in that the device has an answer since a moment: one that it never received asks
// for nothing.
func (l *Ledger) Received(r Request, a Answer, at time.Duration) {
	k := l.of(r)
	*k = asked{}
	if a.RetryAfter > 0 {
		k.notBefore = at + min(a.RetryAfter, LongestHonoured)
	}
	if a.Outcome == Unavailable {
		k.failed = at
	}
}
