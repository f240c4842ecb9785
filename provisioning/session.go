// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

// A connection is stable once it has lasted this long and the hub has acknowledged something. Only
// then are past failures forgotten: a quota, two devices with one identity and messages that the
// hub refuses all look like "connected, then dropped".
const stableAfter = rules.StableAfter

type sessionEnd struct {
	conn  *hubconn.Conn
	err   error
	ended bool // its context had ended before it returned
}

// exchanged takes in that the hub has served the one request that this loop is for: to the rules, a
// good connection that the program closed.
func (l *loop) exchanged(connected rules.Event) {
	l.last = lastFailure{dps: l.last.dps}
	l.decided(rules.Step(l.state, connected, time.Now(), l.random))
	l.apply(rules.Closed{Stable: true})
	l.line(slog.LevelInfo, l.servedMessage(), l.servedAttrs()...)
	l.recovered()
	l.finish(nil)
}

// sessionContext ends with the connection, at the same moment: a Send that fails because the
// connection is gone returns to a session whose context has ended. The deadline is that of Run's
// context, which ends a session too.
type sessionContext struct {
	context.Context // the connection's
	run             context.Context
}

func (c sessionContext) Deadline() (time.Time, bool) { return c.run.Deadline() }

// startSession calls the program, once the session before has returned.
func (l *loop) startSession() {
	if l.session == nil || l.inUse != nil || l.conn == nil || l.conn.Context().Err() != nil {
		return // no connection, or one whose end is taken in soon
	}
	conn, run := l.conn, l.session
	l.inUse = conn
	ctx, cancel := context.WithCancelCause(sessionContext{conn.Context(), l.ctx})
	stop := context.AfterFunc(l.ctx, func() { cancel(context.Cause(l.ctx)) })
	l.running.Go(func() {
		end := sessionEnd{conn: conn, err: errSessionExited}
		// deferred, because a session may end its goroutine, as FailNow of package testing does
		defer func() {
			stop()
			cancel(nil)
			l.sessions <- end
		}()
		err := run(ctx, conn)
		// The connection is asked too: who polls it sees its end an instant before ctx's.
		end.err, end.ended = err, ctx.Err() != nil || conn.Context().Err() != nil
	})
}

func (l *loop) sessionEnded(s sessionEnd) {
	l.inUse = nil
	switch {
	case !s.ended, errors.Is(context.Cause(s.conn.Context()), hubconn.ErrClosed):
		l.finish(s.err)
	case l.ctx.Err() != nil:
		l.finish(l.interrupted())
	default:
		l.startSession()
	}
}

// connectionEnded takes in that the live connection is gone.
func (l *loop) connectionEnded() {
	conn := l.conn
	l.conn = nil
	cause := context.Cause(conn.Context())
	if errors.Is(cause, hubconn.ErrClosed) || errors.Is(cause, ErrReprovisioned) {
		l.step(l.closed(conn))
		return
	}
	e := rules.Lost{HubFailure: hubFailure(cause), Stable: isStable(conn)}
	l.lost(conn, cause, e)
	l.step(e)
}

// lost counts a connection that was lost before it was stable as a failed attempt, but for the
// first: who bounds the attempts wants to hear of two devices with one identity, and not of one
// link that broke.
func (l *loop) lost(conn *hubconn.Conn, cause error, e rules.Lost) {
	switch {
	case e.Stable:
		l.transportLasted()
	case e.Class == retry.Unreachable:
		l.toHub.broke()
	}
	l.countLost(cause, e)
	if e.Stable { // one that Connect has returned too, at which nobody has looked meanwhile
		l.outage.since = conn.Stats().Ended
	}
}

// countLost is lost but for what it says about the transport.
func (l *loop) countLost(cause error, e rules.Lost) {
	l.last.err, l.last.class = cause, e.Class
	l.counts.Disconnections++
	switch {
	case e.Stable:
		l.failures, l.unstable = 0, false
		l.recovered()
		l.outage.failed()
	case l.unstable:
		l.failed(cause, e.Class)
	default:
		l.unstable = true
		l.outage.failed()
	}
}

// checkStable looks whether the connection has become stable, and looks again later if not.
func (l *loop) checkStable() {
	if l.conn == nil || !isStable(l.conn) {
		return
	}
	l.stable, l.failures, l.unstable = true, 0, false
	l.recovered()
	l.transportLasted()
	l.step(rules.Stable{})
}

// untilStable is when to look whether a connection is stable.
func untilStable(conn *hubconn.Conn) time.Duration {
	if left := stableAfter - time.Since(conn.Stats().Since); left > 0 {
		return left
	}
	return stableAfter
}

// closed: what the program ends itself need not have lasted, if the hub has acknowledged something.
func (l *loop) closed(conn *hubconn.Conn) rules.Closed {
	stable := conn.Stats().Responses > 0
	if stable {
		l.recovered()
	}
	return rules.Closed{Stable: stable}
}

func isStable(conn *hubconn.Conn) bool {
	stats := conn.Stats()
	until := stats.Ended
	if until.IsZero() {
		until = time.Now()
	}
	return stats.Responses > 0 && until.Sub(stats.Since) >= stableAfter
}
