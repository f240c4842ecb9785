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
)

// purposes says for each purpose whether the hub is tried or DPS alone asked, when it is reached if
// the state alone tells, and whether a connection that is up at the end stays.
var purposes = [...]struct {
	triesHub bool
	reached  func(*rules.State) bool
	keeps    func(succeeded bool) bool
}{
	toRun:      {triesHub: true, keeps: never},
	toConnect:  {triesHub: true, keeps: onSuccess, reached: func(s *rules.State) bool { return s.Connected }},
	toLocate:   {keeps: always, reached: func(s *rules.State) bool { return s.Target().Known() }},
	toServe:    {keeps: always}, // it may be one that Connect has returned
	toExchange: {triesHub: true, keeps: never},
}

func never(bool) bool                { return false }
func onSuccess(succeeded bool) bool  { return succeeded }
func always(bool) bool               { return true }
func (p purpose) triesHub() bool     { return purposes[p].triesHub }
func (p purpose) keeps(ok bool) bool { return purposes[p].keeps(ok) }

func (p purpose) reached(s *rules.State) bool {
	return purposes[p].reached != nil && purposes[p].reached(s)
}

// task is one call to drive: its purpose, and what goes with it.
type task struct {
	purpose
	session  func(context.Context, *hubconn.Conn) error // toRun
	served   *call                                      // toServe
	exchange func(context.Context, hubconn.Hub) error   // toExchange
}

// call is a method's wish that whoever drives the device serves.
type call struct {
	event  rules.Event
	reason string          // the program's, for a registration
	result chan callResult // room for one
}

type callResult struct {
	assignment dps.Assignment
	err        error
}

func newCall(e rules.Event) *call { return &call{event: e, result: make(chan callResult, 1)} }
