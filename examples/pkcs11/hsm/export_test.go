// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"context"
)

// Idle is how many sessions are open and not in use.
func Idle(t *Token) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.idle)
}

// GiveAway has the handles of all sessions be those of another user of the module, as if the module
// had ended them and opened others.
func GiveAway(t *Token) {
	l := t.library
	l.mu.Lock()
	var all []*session
	for _, s := range l.sessions {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		l.opened(&session{handle: s.handle})
	}
}

// Module is what tests see of a module, and put before it.
type Module = module

// Before puts something before the module of a token, which is not open yet.
func Before(t *Token, before func(Module) Module) { t.before = before }

// Attribute asks the token for an attribute of the private key with an ID.
func Attribute(ctx context.Context, t *Token, id []byte, attribute uint) ([]byte, error) {
	return run(ctx, t, "attribute", reads, func(s *session) ([]byte, error) {
		private, err := s.privateKey(id)
		if err != nil {
			return nil, err
		}
		return s.value(private, attribute)
	})
}
