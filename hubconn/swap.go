// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/rehome-iot/rehome/internal/mqtt"
)

// swapPatience is how long a swap waits for a loop body. The former credential may be good for as
// long as it likes, but the program waits for the new one.
const swapPatience = 2 * time.Minute

// swap is a change to another credential that SetCredential asks for.
type swap struct {
	_ [0]func() // never compared, which saves code in a device's program

	ctx        context.Context
	credential Credential
	result     chan error // has room for the one
}

// SetCredential moves the connection to another credential of the same device or module: from one
// certificate to its successor, from a certificate to tokens, or back. The hub knows a device by
// what it has shown at CONNECT (Azure docs: "Communicate with an IoT hub using the MQTT protocol"),
// so this is a new network connection behind the same Conn, as a renewal of the token is: the next
// one is made while the present one serves, subscriptions are made anew on it, loops and handlers
// go on, and what is in flight is sent again. From then on the connection is renewed, and Upload
// introduces itself, with the new credential.
//
// It makes one attempt, bounded by ctx, DialTimeout and ConnectTimeout; before, it waits for a loop
// body over Messages, two minutes at most, so it is not called from one. Calls at the same time are
// served one after the other, and one during a renewal comes before that is tried again.
//
// Every error is an *Error, and the new credential is then not used any more. Where the network
// connection could not be made, the present one has gone on. Where the hub has refused, or ctx has
// ended meanwhile, there is one attempt to go back to the former credential, and the connection
// ends, as Context tells, if that fails. SetCredential waits for it within ctx; the error's text
// says what came of it.
func (c *Conn) SetCredential(ctx context.Context, credential Credential) error {
	if credential == nil {
		return &Error{
			Op: "credential", Hub: c.hub, Class: Caller, Err: errors.New("credential is nil"),
		}
	}
	if err := c.ended(ctx, "credential"); err != nil {
		return err
	}
	s := &swap{ctx: ctx, credential: credential, result: make(chan error, 1)}
	select {
	case c.swaps <- s:
		return <-s.result
	case <-c.ctx.Done():
	case <-ctx.Done():
	}
	return c.ended(ctx, "credential")
}

// identity is the credential in force.
func (c *Conn) identity() Credential {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.credential
}

// What became of a connection whose swap has failed.
const (
	keptCredential = "; the connection goes on with the former credential"
	goesBack       = "; the connection goes back to the former credential"
	goesOnRenewing = "; the renewal with the former credential goes on"
	failedToo      = "; the connection has ended, for the former credential failed then, too: "
)

// swap goes over to another credential, or back to the former one. It returns the link in use then:
// the old one where nothing has come of it, nil when the connection has ended.
func (c *Conn) swap(old *mqtt.Conn, s *swap) *mqtt.Conn {
	t := &transition{old: old}
	failed := c.attempt(t, s)
	switch {
	case failed == nil:
		return c.current()
	case !t.left:
		c.fail(s, failed, keptCredential)
		return old
	}
	waits := s.ctx.Err() == nil
	if !waits {
		c.fail(s, failed, goesBack)
	}
	after := keptCredential
	if err := c.advance(c.ctx, t, c.credential); err != nil {
		ended := classify("credential", c.hub, err)
		c.end(ended)
		after = failedToo + ended.Class.String() + ended.detail()
	}
	if waits {
		c.fail(s, failed, after)
	}
	return c.current()
}

// swapInRenewal tries another credential in the place of the present one, which the renewal goes on
// with if that fails.
func (c *Conn) swapInRenewal(t *transition, s *swap) (done bool) {
	failed := c.attempt(t, s)
	if failed == nil {
		return true
	}
	c.fail(s, failed, goesOnRenewing)
	return false
}

// attempt tries to put another credential into force, and tells who asked for it if that has
// worked.
func (c *Conn) attempt(t *transition, s *swap) *Error {
	ctx, cancel := c.within(s.ctx)
	defer cancel()
	if !t.left {
		c.awaitBody(ctx, t.old, c.swapLimit())
	}
	var err error
	switch {
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !t.left && t.old.Context().Err() != nil:
		err = c.lost(t.old)
	default:
		err = c.advance(ctx, t, s.credential)
	}
	if err != nil {
		if !t.left {
			c.inbox.resume()
		}
		return classify("credential", c.hub, err)
	}
	c.mu.Lock()
	c.credential = s.credential
	c.swapped++
	c.mu.Unlock()
	c.log(slog.LevelInfo, "credential changed")
	s.result <- nil
	return nil
}

// swapLimit is when a swap no longer waits for a loop body.
func (c *Conn) swapLimit() time.Time {
	limit := time.Now().Add(swapPatience)
	if !c.expiry.IsZero() && c.bodyLimit().Before(limit) {
		limit = c.bodyLimit()
	}
	return limit
}

// fail tells who asked for a swap that it has failed, and what became of the connection.
func (c *Conn) fail(s *swap, failed *Error, after string) {
	failed.after = after
	c.log(slog.LevelInfo, "credential not changed", failure(failed))
	s.result <- failed
}
