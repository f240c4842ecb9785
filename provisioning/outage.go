// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/internal/rules"
)

// warnAfter is for how long a device has not been connected when the log first warns of it, and
// again; after the last, once a day. What mends within minutes, as most of it does, is no warning:
// so a filter at WARN finds the devices that are dark.
var warnAfter = [...]time.Duration{10 * time.Minute, time.Hour, 6 * time.Hour}

// warningAt is for how long a device has not been connected at the n-th warning, from 0.
func warningAt(n int) time.Duration {
	if n < len(warnAfter) {
		return warnAfter[n]
	}
	return time.Duration(n-len(warnAfter)+1) * 24 * time.Hour
}

// warningsBy is how many warnings there are of a device that has not been connected for so long.
func warningsBy(down time.Duration) (n int) {
	for n < len(warnAfter) && warnAfter[n] <= down {
		n++
	}
	if n == len(warnAfter) {
		n += int(down / (24 * time.Hour))
	}
	return n
}

// outage is the time without a connection that works, as Status and the log tell it. It decides
// nothing. The zero value is a device that has missed none.
type outage struct {
	since    time.Time
	attempts int  // that have failed since
	warned   int  // how often the log has warned of it
	due      bool // it is to warn now
	here     bool // an attempt of this process has failed
}

// begin is called when a connection is wanted and there is none.
func (o *outage) begin() {
	if o.since.IsZero() {
		o.since = time.Now()
	}
}

// resume takes up what an earlier process has left.
func (o *outage) resume(w rules.DownWait) {
	if w.For > 0 {
		// of what stands beside the entry, how many have failed is not known
		*o = outage{since: time.Now().Add(-w.For), attempts: max(w.Attempts, 1), warned: w.Told}
	}
}

// failed counts an attempt.
func (o *outage) failed() {
	o.begin()
	o.attempts++
	o.here = true
}

func (o *outage) kept() rules.DownWait {
	if o.since.IsZero() {
		return rules.DownWait{}
	}
	return rules.DownWait{
		For: max(time.Since(o.since), 1), Attempts: o.attempts, Told: o.warned,
	}
}

func (o *outage) attrs() []slog.Attr {
	return []slog.Attr{
		seconds("down", time.Since(o.since)), slog.Int("attempts", o.attempts),
	}
}

// recovered takes in that the connection works, or that the hub has served a request.
func (c *core) recovered() { c.outage, c.news = outage{}, nil }

// wantsConnection says that the task is to reach a hub, or to learn which.
func (l *loop) wantsConnection() bool { return l.triesHub() || l.purpose == toLocate }

// trying says that an attempt is under way.
func (l *loop) trying() bool {
	return l.state.Hub.Phase == rules.UnderWay || l.state.DPS.Phase == rules.UnderWay
}

// applyEnd takes in how a connection of the program's own client has ended.
func (l *loop) applyEnd(e rules.Event) {
	if closed, ok := e.(rules.Closed); ok && closed.Stable {
		l.recovered()
	}
	l.apply(e)
}

// warns says that an outage is told of as long as the device is in this state. What has been handed
// to a client of the program's own, or is confirmed, may be its end: what it reports tells.
func (l *loop) warns() bool {
	return l.wantsConnection() && l.own.state == "" && !l.state.Connected &&
		!l.outage.since.IsZero()
}

// nextWarning is when the log warns next, if nothing happens before.
func (l *loop) nextWarning() (at time.Time, ok bool) {
	at = l.outage.since.Add(warningAt(l.outage.warned))
	return at, l.warns() && at.After(time.Now())
}

// assessOutage decides whether the log is to warn. A process that has begun in an outage waits for
// what comes of its first attempt, unless it may make none yet, or ends.
func (l *loop) assessOutage(ending bool) {
	o := &l.outage
	if l.wantsConnection() && !l.state.Connected && !ending {
		o.begin()
	}
	if !l.warns() || l.purpose == toReport && !ending { // it is not heard yet
		return
	}
	n := warningsBy(time.Since(o.since))
	next, planned := l.wake()
	begins := l.trying() || planned && !next.After(time.Now())
	if n <= o.warned || !o.here && begins && !ending {
		return
	}
	o.warned, o.due = n, true
}

// outageEnding takes in that nothing drives the device any more. An attempt that was cut short
// counts where the program had set a limit to it: a device that wakes for less time than an attempt
// takes would else never have missed anything.
func (l *loop) outageEnding() {
	switch {
	case l.purpose == toLocate && l.outcome == nil:
		l.recovered() // no more was wanted
	case l.ctx.Err() != nil && l.trying() && !l.state.Connected &&
		(l.purpose == toExchange || l.purpose == toConnect || l.purpose == toHand):
		l.outage.failed()
	}
}

// warnOfOutage writes the warning that is due.
func (c *core) warnOfOutage(s *Status) {
	if !c.outage.due {
		return
	}
	c.outage.due = false
	attrs := append(c.outage.attrs(), c.stateAttrs(s)...)
	c.line(slog.LevelWarn, c.name.kind()+" is not connected", attrs...)
}
