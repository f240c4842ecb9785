// SPDX-License-Identifier: Apache-2.0

package tpm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"syscall"

	"github.com/google/go-tpm/tpm2"

	"github.com/rehome-iot/rehome/retry"
)

// ErrNoKey is in the tree of an error of a Token that has no key to be signed with, or none that
// this TPM can use: none was given by DPS yet, or the store has been lost or copied from elsewhere,
// or the TPM was cleared. A registration gives a new one, and the error calls for it.
var ErrNoKey = errors.New("no key")

// ErrRolledBack is in the tree of the error of a [CountedStore] whose entries are older than the
// TPM's counter says.
var ErrRolledBack = errors.New("an older copy has been put in the place of the entries")

var errGone = errors.New("the way to the TPM is lost")

// Error is a failure of the TPM, or of what belongs to it. Its text is one line, with the fix where
// one is known, and holds no key.
type Error struct {
	// Op is what was being done, such as "token", "activate" or "seal".
	Op string
	// Place is where the TPM is.
	Place string
	// Problem says what is wrong, and what to do; empty where no more is known than Err.
	Problem string
	// Err is the cause: one of package tpm2 (TPMRC), of the way to the TPM or of the store.
	Err error
}

// Error returns one line.
func (e *Error) Error() string {
	problem := e.Problem
	if e.Err != nil {
		if problem != "" {
			problem += ": "
		}
		problem += e.Err.Error()
	}
	return fmt.Sprintf("tpm: %s with the TPM at %s: %s", e.Op, e.Place, problem)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Verdict is Register where the key is missing, since DPS gives another one, and Wait otherwise: a
// TPM that is busy or locked out recovers, and one that is absent may be back.
func (e *Error) Verdict() retry.Verdict {
	if errors.Is(e.Err, ErrNoKey) {
		return retry.Register
	}
	return retry.Wait
}

// explain says what an error of the TPM means to those who look after the device.
func (t *TPM) explain(op string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{Op: op, Place: t.place(), Err: err}
	if opening, ok := errors.AsType[*openError](err); ok {
		e.Err = opening.error
		e.Problem = openProblem(err)
		return e
	}
	e.Problem = problem(err)
	return e
}

func openProblem(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "there is none: check that the board has a TPM 2.0, that its driver is loaded, " +
			"and the address"
	case errors.Is(err, fs.ErrPermission):
		return "it may not be opened by user " + strconv.Itoa(os.Getuid()) +
			": add the user to the device's group, which is mostly tss"
	case errors.Is(err, syscall.EBUSY):
		return "another program has it open: use " + defaultDevice + ", which is for many"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "nobody listens there: start the TPM in software, or check the address"
	}
	return "it cannot be opened"
}

// problems are codes of a TPM that have a remedy (TPM 2.0 library, part 2, "TPM_RC").
var problems = []struct {
	code tpm2.TPMRC
	text string
}{
	{tpm2.TPMRCLockout, "it is locked out after wrong passwords: wait for its recovery time, or " +
		"end the lockout with its own password (tpm2_dictionarylockout --clear-lockout)"},
	{tpm2.TPMRCRetry, "it is busy, and was for several seconds: try later"},
	{tpm2.TPMRCYielded, "it is busy, and was for several seconds: try later"},
	{tpm2.TPMRCTesting, "it tests itself, and did for several seconds: try later"},
	{tpm2.TPMRCNVRate, "it spares its memory, which is written to too often: try later"},
	{tpm2.TPMRCNVSpace, "its memory is full: undefine or evict what is not needed"},
	{tpm2.TPMRCObjectMemory, "its places for keys are taken by other programs: use " +
		defaultDevice + ", or flush what they left"},
	{tpm2.TPMRCSessionMemory, "its places for sessions are taken by other programs: use " +
		defaultDevice + ", or flush what they left"},
	{tpm2.TPMRCInitialize, "it has not been started: the firmware has to do that"},
	{tpm2.TPMRCFailure, "it is in failure mode: restart the machine; if that does not help, " +
		"the TPM is defective"},
	{tpm2.TPMRCAuthFail, "it refuses the password of a hierarchy: set OwnerAuth and " +
		"EndorsementAuth to those that it was given"},
	{tpm2.TPMRCBadAuth, "it refuses the password of a hierarchy: set OwnerAuth and " +
		"EndorsementAuth to those that it was given"},
	{tpm2.TPMRCHierarchy, "a hierarchy is disabled: enable it in the firmware's settings"},
}

func problem(err error) string {
	for _, p := range problems {
		if errors.Is(err, p.code) {
			return p.text
		}
	}
	return ""
}
