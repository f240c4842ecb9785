// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// The transports that a device which leaves the choice open uses, the preferred one first. DPS
// tells the time over HTTPS, which MQTT does not; the hub's WebSocket costs more bytes and passes a
// proxy that may end it.
var (
	autoHubTransports = []hubconn.Transport{hubconn.MQTT, hubconn.MQTTWebSocket}
	autoDPSTransports = []dps.Transport{dps.HTTPS, dps.MQTT}
)

const (
	// firstTryTimeout is how long a service has to show its certificate while another transport
	// waits to be tried: a port that answers nothing costs a device that wakes for two minutes no
	// more than that.
	firstTryTimeout = 15 * time.Second

	// preferredAfter is how long the other transport goes first before the preferred one does
	// again: networks change.
	preferredAfter = 24 * time.Hour

	// silentTries is after how many attempts in a row, at a service that showed its certificate and
	// then said nothing, or connections that did not last, the other transport goes first: a
	// firewall may cut what it finds to be MQTT once it is under way.
	silentTries = 3
)

// choice is that between the two transports to one service. It is the rules' attempt that fails or
// succeeds: which transports it was tried over is no concern of theirs. It belongs to the goroutine
// that drives the device.
type choice[T transport] struct {
	service string // for the log
	order   []T    // the preferred one first; a single one is the program's own choice

	// since is when the preferred one was last tried in vain while the other one reached the
	// service, to the second; zero: the preferred one goes first.
	since time.Time

	silent  int  // attempts in a row in which the service said nothing after its certificate
	broken  int  // connections in a row that were lost before they were stable
	swapped bool // because of either the one goes first that otherwise would not
	trial   bool // because of the latter: what is used now has to last before it is remembered
	used    T    // by the last attempt that the service responded to
	patient bool // the last attempt showed that the first may be slow: it has its full time now
}

type transport interface {
	comparable
	fmt.Stringer
}

// choiceOf is the one that the program has made, or has left open.
func choiceOf[T transport](service string, fixed, auto T, order []T) choice[T] {
	if fixed != auto {
		order = []T{fixed}
	}
	return choice[T]{service: service, order: order}
}

func newHubChoice(d *Device) choice[hubconn.Transport] {
	return choiceOf("hub", d.Hub.Transport, hubconn.Auto, autoHubTransports)
}

// newDPSChoice takes a port in the endpoint for HTTPS's: whoever names one knows the transport.
func newDPSChoice(d *Device) choice[dps.Transport] {
	order := autoDPSTransports
	_, endorsed := d.Attestation.(dps.Endorsed) // DPS challenges a TPM over HTTPS alone
	if _, _, err := net.SplitHostPort(d.Endpoint); err == nil || endorsed {
		order = order[:1]
	}
	return choiceOf("dps", d.Transport, dps.Auto, order)
}

// resumeTransports takes up that a service was silent to an earlier process.
func (l *loop) resumeTransports(w *rules.Waits) {
	failures := 0
	for i := range w.Hubs {
		if h := &w.Hubs[i]; h.Class == retry.Unreachable {
			failures = max(failures, h.Failures)
		}
	}
	l.toHub.resume(w.Outage.Silent > 0, failures)
	if w.DPS.Silent {
		l.toDPS.resume(true, w.DPS.Failures)
	}
}

// resume begins where no attempt before has reached the service, as far as that is known. A process
// that lives for a minute has no time for several attempts, and where the waits have grown, for no
// more than one.
func (c *choice[T]) resume(silent bool, failures int) {
	if silent {
		c.silent = silentTries - 1
		c.swapped = c.open() && failures >= silentTries && failures%2 == 1
	}
}

func (c *choice[T]) open() bool { return len(c.order) > 1 }

// first is the transport that is known to work, as far as one is.
func (c *choice[T]) first() T {
	if c.open() && !c.since.IsZero() {
		return c.order[1]
	}
	return c.order[0]
}

// lately says that the other transport goes first.
func (c *choice[T]) lately(now time.Time) bool {
	return !c.since.IsZero() && now.Sub(c.since).Abs() < preferredAfter
}

// plan is the order of the next attempt, and how long its first try may take to reach the service.
func (c *choice[T]) plan(now time.Time, limit time.Duration) plan[T] {
	if !c.open() {
		return plan[T]{order: c.order}
	}
	p := plan[T]{order: c.order, limit: limit, patient: c.patient}
	if c.lately(now) != c.swapped {
		p.order = []T{c.order[1], c.order[0]}
	}
	return p
}

// learn takes in which transport reached the service, and says whether another one than before is
// to be remembered.
func (c *choice[T]) learn(a attempt[T], now time.Time) (changed bool) {
	if !c.open() || len(a.tried) == 0 {
		return false
	}
	before := c.since
	c.patient = a.reached == nobody || a.slow
	if a.reached != certificate {
		c.silent = 0
	} else if c.silent++; c.silent >= silentTries {
		c.silent, c.swapped = 0, !c.swapped
	}
	if a.reached != answer || a.slow && errors.Is(a.passed, errNoHandshake) {
		// A handshake does not tell that what follows it gets through. Where one takes long, the
		// other port may be slow as well, and not closed.
		return false
	}
	c.used = a.tried[len(a.tried)-1]
	if c.trial {
		return false
	}
	c.keep(len(a.tried) > 1 || c.swapped, now)
	return !c.since.Equal(before)
}

// keep remembers the one that is used; inVain says that the other was tried before it.
func (c *choice[T]) keep(inVain bool, now time.Time) {
	switch {
	case c.used == c.order[0]:
		c.since = time.Time{}
	case inVain && !c.lately(now):
		c.since = now.Truncate(time.Second)
	}
	c.swapped, c.trial = false, false
}

// broke takes in that a connection was lost before it was stable. What ends them may be the way
// there, and may be anything else: the other transport is tried in turn, and no news by itself.
func (c *choice[T]) broke() {
	if c.broken++; c.open() && c.broken >= silentTries {
		c.broken, c.swapped, c.trial = 0, !c.swapped, true
	}
}

// lasted takes in that a connection is stable, and says whether its transport is news.
func (c *choice[T]) lasted(now time.Time) (changed bool) {
	c.broken = 0
	if !c.trial {
		return false
	}
	before := c.since
	c.keep(true, now)
	return !c.since.Equal(before)
}

// current is what a connection runs over, or else what is known to work.
func (c *choice[T]) current(connected bool) T {
	if c.trial && connected {
		return c.used
	}
	return c.first()
}

// plan is in which order the transports are tried in one attempt.
type plan[T transport] struct {
	order   []T
	limit   time.Duration // of the first, to reach the service, where there is a second
	patient bool          // it has its own, which is longer, all the same
}

// after is the plan of a try that follows one which has reached the service: over the same.
func (p plan[T]) after(a attempt[T]) plan[T] {
	if a.reached == nobody || len(a.tried) == 0 {
		return p
	}
	return plan[T]{order: a.tried[len(a.tried)-1:]}
}

// attempt is over which transports one was made. The last one got as far as reached says; those
// before it reached nobody.
type attempt[T transport] struct {
	tried   []T
	reached reach
	passed  error // why the first was given up
	slow    bool  // the service was reached, and not within the time of a first try
}

// try makes an attempt: over the first transport, and over the next only where the service has not
// been reached. So the service has at most one request of it, however many transports there are.
func (p plan[T]) try(
	ctx context.Context, host string,
	once func(ctx context.Context, over T, w *witness) error, judge func(error) reach,
) (attempt[T], error) {
	if len(p.order) == 1 {
		return attempt[T]{}, once(ctx, p.order[0], nil)
	}
	var a attempt[T]
	for i, over := range p.order {
		w := &witness{host: host, began: time.Now()}
		limited := ctx
		if i == 0 && !p.patient {
			var end context.CancelFunc
			limited, end = w.within(ctx, p.limit)
			defer end()
		}
		err := once(limited, over, w)
		a.tried, a.reached = append(a.tried, over), max(judge(err), w.reached(err))
		a.slow = w.took() > p.limit
		if a.reached != nobody || ctx.Err() != nil {
			return a, err
		}
		if i > 0 {
			return a, unreached(a.tried, []error{a.passed, err})
		}
		a.passed = err
	}
	return a, a.passed
}

// learned takes in what an attempt has shown of the network, and says whether that is news to the
// store. A switch from one transport to the other is one line in the log.
func learned[T transport](l *loop, c *choice[T], a attempt[T]) (changed bool) {
	from := c.first()
	if changed = c.learn(a, l.clock.Now()); !changed {
		return false
	}
	why := "it reaches the service again"
	switch {
	case a.passed != nil:
		switched(l, c, from, failureAttrs(a.passed)...)
		return true
	case c.first() != c.order[0]:
		why = fmt.Sprintf("the service said nothing over %v", from)
	}
	switched(l, c, from, slog.String("cause", why))
	return true
}

func switched[T transport](l *loop, c *choice[T], from T, why ...slog.Attr) {
	l.store.fallback.Hub, l.store.fallback.DPS = l.toHub.since, l.toDPS.since
	if to := c.first(); to != from {
		l.line(slog.LevelInfo, "transport switched", append([]slog.Attr{
			slog.String("service", c.service), slog.String("from", from.String()),
			slog.String("to", to.String()),
		}, why...)...)
	}
}

// transportLasted takes in that a connection has become stable.
func (l *loop) transportLasted() {
	from := l.toHub.first()
	if l.toHub.lasted(l.clock.Now()) {
		switched(l, &l.toHub, from,
			slog.String("cause", fmt.Sprintf("no connection lasted over %v", from)))
		l.rememberUnstored()
	}
}

// dial makes one attempt to connect to the hub.
func (l *loop) dial(
	ctx context.Context, hub hubconn.Hub, as hubconn.Credential, p plan[hubconn.Transport],
) (conn *hubconn.Conn, a attempt[hubconn.Transport], err error) {
	a, err = p.try(ctx, hub.Host,
		func(ctx context.Context, over hubconn.Transport, w *witness) (err error) {
			d := *l.dialer
			d.Transport, d.TLSConfig = over, w.watch(d.TLSConfig)
			conn, err = d.Dial(ctx, hub, as)
			return err
		}, hubReach)
	return conn, a, err
}

// dpsOver is the client for one try.
func (c *core) dpsOver(over dps.Transport, w *witness, as dps.Attestation) *dps.Client {
	client := *c.client
	client.Attestation = as
	client.Transport, client.TLSConfig = over, w.watch(client.TLSConfig)
	return &client
}

// dpsResolves says that DPS's name can be resolved, by a connection to the port that is to be tried
// first, or else to the other: a firewall may let no more than one of them through.
func (c *core) dpsResolves(ctx context.Context, p plan[dps.Transport]) bool {
	for _, over := range p.order {
		if c.dpsOver(over, nil, c.client.Attestation).Resolves(ctx) {
			return true
		}
	}
	return false
}
