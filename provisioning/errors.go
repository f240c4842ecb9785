package provisioning

import (
	"errors"
	"fmt"
	"time"

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
// way.
var ErrRunning = errors.New("provisioning: the device is running already: call Run once, " +
	"use or close the connection from Connect first, let Send and Receive return")

// TooSoonError is returned by Reprovision while DPS is to be left alone: no request was sent.
type TooSoonError struct {
	// Wait is for how long that is so.
	Wait time.Duration
}

// Error says for how long DPS is left alone.
func (e *TooSoonError) Error() string {
	return fmt.Sprintf("provisioning: dps was not asked: it is left alone for another %v",
		max(e.Wait.Round(time.Second), time.Second))
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
