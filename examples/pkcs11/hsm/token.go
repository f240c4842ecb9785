// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/pkcs11"
)

// defaultSessions is enough for a connection, and for its renewal beside it.
const defaultSessions = 4

// maxNamed is how many tokens an error names.
const maxNamed = 4

// Token is a PKCS #11 token. It is opened when it is first used. Set the fields before that. Safe
// for concurrent use; it must not be copied after its first use.
type Token struct {
	// Module is the path of the token's library, such as /usr/lib/softhsm/libsofthsm2.so. Required.
	Module string

	// Label is the token's, as it was initialized with. Required; no other token of the module may
	// have the same.
	Label string

	// PIN returns the user's PIN, at each login: see [PINFile] and [PINVariable]. It is needed
	// where the token wants a login, and must not use the Token.
	PIN func() (string, error)

	// Sessions is how many sessions may be open at once. Zero: 4.
	Sessions int

	mu      sync.Mutex // of what follows
	library *library
	module  module
	slot    uint
	found   bool // the slot is
	epoch   int  // sessions of another one are not used any more
	idle    []*session
	refused string // the PIN that the token has refused

	once   sync.Once
	places chan struct{} // as many as sessions may be in use

	fixed bool // labels cannot be changed; the library's objects are held to write

	before func(module) module // of a test, for what the module answers
}

// session is one that is logged in, in use by one operation.
type session struct {
	module
	library *library
	handle  pkcs11.SessionHandle
	epoch   int
	ended   atomic.Bool // the module has given its handle to another
}

// access is whether something that is done with a token changes what is in it.
type access bool

const (
	reads   access = false
	changes access = true
)

// run does something in a session, once more if that was lost. The error is an *Error. do goes on
// where ctx ends, and what comes of it is not waited for.
func run[T any](
	ctx context.Context, t *Token, op string, a access, do func(*session) (T, error),
) (result T, err error) {
	free := t.free()
	select {
	case free <- struct{}{}:
	case <-ctx.Done():
		return result, t.failed(op, because(ErrNoSession, "all %d are in use: %w", cap(free),
			context.Cause(ctx)))
	}
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		defer func() { <-free }()
		var o outcome
		var lost bool
		if o.result, lost, o.err = tried(t, a, do); lost {
			o.result, _, o.err = tried(t, a, do)
		}
		done <- o
	}()
	select {
	case o := <-done:
		return o.result, t.failed(op, o.err)
	case <-ctx.Done():
		return result, t.failed(op, fmt.Errorf("the module has not answered: %w",
			context.Cause(ctx)))
	}
}

// tried does it once. What was done in a session that has ended meanwhile may have been done in
// another's, whatever came of it.
func tried[T any](
	t *Token, a access, do func(*session) (T, error),
) (result T, lost bool, err error) {
	s, err := t.session()
	if err != nil {
		return result, isLost(err), err
	}
	func() {
		if objects := &s.library.objects; a == changes {
			objects.Lock()
			defer objects.Unlock()
		} else {
			objects.RLock()
			defer objects.RUnlock()
		}
		result, err = do(s)
	}()
	lost = isLost(err) || s.ended.Load()
	t.done(s, lost, err)
	return result, lost, err
}

// free has a place for each session. It takes no lock that somebody holds while a module hangs.
func (t *Token) free() chan struct{} {
	t.once.Do(func() {
		t.places = make(chan struct{}, max(1, cmp.Or(t.Sessions, defaultSessions)))
	})
	return t.places
}

// session returns one that is logged in. Without a login private keys are not refused: they are not
// seen, as if they were gone. So each session is asked for its state before it is used.
func (t *Token) session() (*session, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.library == nil {
		l, err := openLibrary(t.Module)
		if err != nil {
			return nil, err
		}
		t.library, t.module = l, l
		if t.before != nil {
			t.module = t.before(l.module)
		}
	}
	if !t.found {
		slot, err := t.find()
		if err != nil {
			return nil, err
		}
		t.slot, t.found = slot, true
	}
	var s *session
	for s == nil && len(t.idle) > 0 {
		last := len(t.idle) - 1
		s, t.idle = t.idle[last], t.idle[:last]
		if s.ended.Load() {
			s = nil
		}
	}
	if s == nil {
		handle, err := t.module.OpenSession(
			t.slot, pkcs11.CKF_SERIAL_SESSION|pkcs11.CKF_RW_SESSION,
		)
		if isLost(err) {
			t.lose(t.epoch)
		}
		if err != nil {
			return nil, err
		}
		s = &session{
			module: t.module, library: t.library, handle: handle, epoch: t.epoch,
		}
		t.library.opened(s)
	}
	if err := t.logIn(s); err != nil {
		_ = t.library.close(s) // what happened is told
		if isLost(err) {
			t.lose(s.epoch)
		}
		return nil, err
	}
	return s, nil
}

// find looks for the slot of the token.
func (t *Token) find() (slot uint, err error) {
	slots, err := t.module.GetSlotList(true)
	if err != nil {
		return 0, err
	}
	var others []string
	found := 0
	for _, at := range slots {
		info, err := t.module.GetTokenInfo(at)
		label := strings.TrimRight(info.Label, " \x00")
		switch {
		case err != nil: // it was pulled out meanwhile
		case label == t.Label:
			slot, found = at, found+1
		case info.Flags&pkcs11.CKF_TOKEN_INITIALIZED != 0:
			others = append(others, fmt.Sprintf("%q", label))
		}
	}
	switch {
	case found > 1:
		return 0, fmt.Errorf("%d tokens of the module have this label: give each its own", found)
	case found == 0 && others == nil:
		return 0, because(ErrNoToken, "the module has none; is it connected and initialized?")
	case found == 0 && len(others) > maxNamed:
		return 0, because(ErrNoToken, "the module has %s and %d more",
			strings.Join(others[:maxNamed], ", "), len(others)-maxNamed)
	case found == 0:
		return 0, because(ErrNoToken, "the module has %s", strings.Join(others, ", "))
	}
	return slot, nil
}

// logIn logs a session in, and so all of this process with the token.
func (t *Token) logIn(s *session) error {
	is, err := s.GetSessionInfo(s.handle)
	if err != nil || is.State == pkcs11.CKS_RW_USER_FUNCTIONS {
		return err
	}
	info, err := s.GetTokenInfo(t.slot)
	switch {
	case err != nil:
		return err
	case info.Flags&pkcs11.CKF_LOGIN_REQUIRED == 0:
		return nil
	case info.Flags&pkcs11.CKF_USER_PIN_LOCKED != 0:
		return pkcs11.Error(pkcs11.CKR_PIN_LOCKED)
	case info.Flags&pkcs11.CKF_USER_PIN_FINAL_TRY != 0:
		return because(ErrPINLocked, "one try is left, which this program does not use up: log in "+
			"by hand with the right one")
	case t.PIN == nil:
		return errNoPIN
	}
	pin, err := t.PIN()
	if err != nil {
		return err
	}
	if pin == t.refused {
		return pkcs11.Error(pkcs11.CKR_PIN_INCORRECT)
	}
	err = s.Login(s.handle, pkcs11.CKU_USER, pin)
	switch {
	case errors.Is(err, pkcs11.Error(pkcs11.CKR_USER_ALREADY_LOGGED_IN)):
		err = nil
	case errors.Is(explained(err), ErrPIN):
		t.refused = pin
	}
	return err
}

// done gives a session back. One in which something has failed is not used again.
func (t *Token) done(s *session, lost bool, err error) {
	var code pkcs11.Error
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.epoch == t.epoch && !lost && !errors.As(err, &code) {
		t.idle = append(t.idle, s)
		return
	}
	_ = t.library.close(s) // it may be gone
	if lost {
		t.lose(s.epoch)
	}
}

// lose gives up the sessions of an epoch, and where the token was. Nothing is opened between the
// end of one session that tells of it and that of the others: mu is held.
func (t *Token) lose(epoch int) {
	if epoch != t.epoch {
		return // somebody has been here
	}
	_ = t.closeIdle() // they may be gone
	t.epoch++
	t.found = false
}

func (t *Token) closeIdle() (err error) {
	for _, s := range t.idle {
		err = errors.Join(err, t.library.close(s))
	}
	t.idle = nil
	return err
}

// Close waits for what is under way, for 30 s at most, and ends the sessions. A Token that is used
// after that is opened again.
func (t *Token) Close() error {
	free, taken := t.free(), 0
	defer func() {
		for range taken {
			<-free
		}
	}()
	for end := time.After(patience); taken < cap(free); taken++ {
		select {
		case free <- struct{}{}:
		case <-end:
			return t.failed("close", errors.New("the module has not answered for 30 s"))
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.library == nil {
		return nil
	}
	err := t.closeIdle()
	t.epoch++
	t.found = false
	err = errors.Join(err, t.library.release())
	t.library = nil
	if err != nil {
		return t.failed("close", err)
	}
	return nil
}

// failed is nil for nil.
func (t *Token) failed(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Token: t.Label, Err: explained(err)}
}

// String names the token.
func (t *Token) String() string { return fmt.Sprintf("PKCS #11 token %q", t.Label) }

// GoString is String.
func (t *Token) GoString() string { return t.String() }

// Format writes String for every verb.
func (t *Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// LogValue is String.
func (t *Token) LogValue() slog.Value { return slog.StringValue(t.String()) }
