// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/retry"
)

// ErrReprovisioned is the cause with which a session's context ends when the device was moved to
// another hub, or got another device ID, by Reprovision; those of its modules' sessions, too. The
// next session runs there. A service that removes the device from the old hub before it has told
// the device ends that connection first; the cause is then the lost connection, and the next
// session runs on the new hub all the same.
var ErrReprovisioned = errors.New("provisioning: the device was assigned to another hub")

// ErrRunning is returned by Run, Connect, Send and Receive while Run or Connect is under way or a
// connection that Connect returned is open, and by Run and Connect while Send or Receive is under
// way. NextAttempt, Confirm, Rejected and Closed are as Send in this.
var ErrRunning = errors.New("provisioning: the device is running already: call Run once, " +
	"use or close the connection from Connect first, let Send and Receive return")

// TooSoonError says that nothing is sent for a while. Reprovision returns it while DPS is to be
// left alone: no request was sent. Send, Receive and NextAttempt return it as soon as the next
// request that the rules allow, to the hub or to DPS, lies behind the deadline of ctx: to wait for
// the deadline would change nothing. To errors.Is it is [context.DeadlineExceeded] then.
type TooSoonError struct {
	// Wait is for how long that is so.
	Wait time.Duration

	// Err is the last failure, which led there. Nil for Reprovision, and where an earlier process
	// or call had it.
	Err error

	deadline bool // that of ctx comes first
}

// Error says for how long nothing is sent.
func (e *TooSoonError) Error() string {
	wait := max(e.Wait.Round(time.Second), time.Second)
	if !e.deadline {
		return fmt.Sprintf("provisioning: dps was not asked: it is left alone for another %v", wait)
	}
	text := fmt.Sprintf("provisioning: the next try is allowed in %v, after the deadline", wait)
	if e.Err != nil {
		text += "; last error: " + e.Err.Error()
	}
	return text
}

// Is finds [context.DeadlineExceeded] where the deadline of ctx was too near, and what is in Err.
// It and As stand in for Unwrap, which would let [retry.After] find what Err has asked for: some of
// that wait is over.
func (e *TooSoonError) Is(target error) bool {
	return e.deadline && target == context.DeadlineExceeded || errors.Is(e.Err, target)
}

// As finds the *[hubconn.Error] or *[dps.Error] in Err.
func (e *TooSoonError) As(target any) bool {
	switch target := target.(type) { // errors.As would cost every device 9 KB
	case **hubconn.Error:
		return find(e.Err, target)
	case **dps.Error:
		return find(e.Err, target)
	}
	return false
}

func find[E error](err error, target *E) (ok bool) {
	found, ok := errors.AsType[E](err)
	if ok {
		*target = found
	}
	return ok
}

// RetryAfter is Wait; [retry.After] calls it.
func (e *TooSoonError) RetryAfter() time.Duration { return e.Wait }

// Verdict is to wait; [retry.Classify] calls it.
func (e *TooSoonError) Verdict() retry.Verdict { return retry.Wait }

// invalid is an error in what the program set.
func invalid(err error) error { return &dps.Error{Op: opValidate, Err: err} }

const opValidate = "validate"

// errUnserved tells a caller that the loop it had called ended first, and to call the next one.
var errUnserved = errors.New("provisioning: the device stopped before dps had answered")

// errStopped tells a caller, who may be the session, that Run is ending.
var errStopped = errors.New("provisioning: run is ending: the device was not asked")

// errRejected stands for a hub's error that is not there.
var errRejected = errors.New("provisioning: the hub has rejected the device")

// errSessionExited stands for what a session would have returned.
var errSessionExited = errors.New(
	"provisioning: the session ended its goroutine instead of returning",
)
