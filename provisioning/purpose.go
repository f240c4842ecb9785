// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// A purpose is what a call drives the device for.
type purpose int

const (
	toRun      purpose = iota // a session on every connection
	toConnect                 // one connection, for the caller
	toLocate                  // an assignment
	toServe                   // the answer to one call of another kind
	toExchange                // one request at the hub over HTTPS, in place of a connection
	toHand                    // an attempt at the hub, by a client of the program's own
	toReport                  // nothing but what became of that
)

// purposes says for each purpose whether the hub is tried or DPS alone asked, whether the call ends
// where the next thing to do lies behind the deadline of its ctx, when it is reached if the state
// alone tells, and whether a connection that is up at the end stays.
var purposes = [...]struct {
	triesHub bool
	inTime   bool
	reached  func(*rules.State) bool
	keeps    func(succeeded bool) bool
}{
	toRun:      {triesHub: true, keeps: never},
	toConnect:  {triesHub: true, keeps: onSuccess, reached: func(s *rules.State) bool { return s.Connected }},
	toLocate:   {keeps: always, reached: func(s *rules.State) bool { return s.Target().Known() }},
	toServe:    {keeps: always}, // it may be one that Connect has returned
	toExchange: {triesHub: true, inTime: true, keeps: never},
	toHand:     {triesHub: true, inTime: true, keeps: never},
	toReport:   {triesHub: true, keeps: never},
}

func never(bool) bool                { return false }
func onSuccess(succeeded bool) bool  { return succeeded }
func always(bool) bool               { return true }
func (p purpose) triesHub() bool     { return purposes[p].triesHub }
func (p purpose) keeps(ok bool) bool { return purposes[p].keeps(ok) }
func (p purpose) inTime() bool       { return purposes[p].inTime }

func (p purpose) reached(s *rules.State) bool {
	return purposes[p].reached != nil && purposes[p].reached(s)
}

// task is one call to drive: its purpose, and what goes with it.
type task struct {
	purpose
	session func(context.Context, *hubconn.Conn) error // toRun
	served  *call                                      // toServe
	// toExchange
	exchange func(context.Context, hubconn.Hub, hubconn.Credential) error
	attempt  State         // what an attempt at the hub is called; empty: StateConnecting
	hear     func(l *loop) // toReport
}

// call is a method's wish that whoever drives the device serves.
type call struct {
	_ [0]func() // never compared, which saves code in a device's program

	event  rules.Event
	reason string          // the program's, for a registration
	result chan callResult // room for one
}

type callResult struct {
	assignment dps.Assignment
	err        error
}

func newCall(e rules.Event) *call { return &call{event: e, result: make(chan callResult, 1)} }
