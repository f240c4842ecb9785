// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// A request is one that is under way, or waits for its turn.
type request struct {
	cancel context.CancelFunc // of one that is under way
	told   func(result)       // tells Trace what became of it; nil: nobody wants to know
	queued rules.Action       // of one that waits: what to perform when its turn has come
	turn   *Turn              // nil: there is no Budget
}

// end is called with what became of a request, by the loop; what comes later is no news.
func (r *request) end(as result) {
	if r.told != nil {
		r.told(as)
		r.told = nil
	}
}

// giveUp ends a request of which nobody will hear.
func (r *request) giveUp() {
	if r.queued != nil {
		r.turn.Done(context.Canceled)
		return
	}
	r.cancel()
	r.end(result{err: context.Canceled})
}

// ready is the channel of a request that waits for its turn; nil if it does not.
func (r *request) ready() <-chan struct{} {
	if r == nil || r.queued == nil {
		return nil
	}
	return r.turn.Ready
}

// queues has an action wait for its turn, and says whether it has to.
func (l *loop) queues(a rules.Action) bool {
	slot := &l.dps
	e := Entrant{
		RegistrationID: l.name.device, Host: l.dpsHost, IDScope: l.client.IDScope,
		Known: l.state.Confirmed.Hub != "",
	}
	switch a := a.(type) {
	case rules.Connect:
		if l.purpose == toHand || !l.triesHub() {
			return false
		}
		slot, e.Host, e.IDScope = &l.hub, a.Target.Hub, ""
	case rules.Register, rules.Lookup:
		if l.device != nil { // it asks
			return false
		}
	case rules.CheckClock:
		e.Clock = true
	default:
		return false
	}
	t := l.budget.Enter(e)
	if t.Ready == nil {
		l.granted = t
		return false
	}
	l.cancel(slot)
	*slot = &request{queued: a, turn: t}
	return true
}

// admitted performs what has waited for its turn.
func (l *loop) admitted(slot **request) {
	r := *slot
	*slot, l.granted = nil, r.turn
	l.perform(r.queued)
	l.publish()
}

// result is what became of a request.
type result struct {
	request *request
	event   rules.Event
	conn    *hubconn.Conn
	err     error
	toHub   attempt[hubconn.Transport]
	toDPS   attempt[dps.Transport]

	credential credential // that was accepted
	refused    []error    // of those before it
	asked      bool       // for a certificate
	issued     *issued    // what came of it
	badChain   error      // or what was wrong with what came

	clockChecks int // questions for the time on the way
}

func (l *loop) cancel(r **request) {
	if *r != nil {
		(*r).giveUp()
		*r = nil
	}
}

// start runs a request in place of the one in slot.
func (l *loop) start(slot **request, run func(ctx context.Context) result) {
	l.cancel(slot)
	ctx, cancel := context.WithCancel(l.ctx)
	started := &request{cancel: cancel, turn: l.granted}
	*slot, l.granted = started, nil
	l.running.Go(func() {
		defer cancel()
		r := run(ctx)
		r.request = started
		err := ctx.Err()
		if started.turn != nil {
			said := err
			if said == nil {
				said = r.err
			}
			started.turn.Done(said)
		}
		if err != nil && r.conn == nil {
			return // what failed because it was cut short is no failure
		}
		select {
		case l.results <- r:
		case <-ctx.Done():
			if r.conn != nil {
				_ = r.conn.Close()
			}
		}
	})
}
