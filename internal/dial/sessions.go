// SPDX-License-Identifier: Apache-2.0

package dial

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"sync"
)

// scoped is a session cache as one identity sees it. crypto/tls keeps a session under the name of
// the server alone, and a server takes the client of a resumed session for the one that it was made
// with: another device of the process, or the one whose certificate was renewed, would be let in as
// the one before. So the certificate's fingerprint is part of the key.
type scoped struct {
	cache tls.ClientSessionCache
	scope string
}

// scopeOf is the part of a cache that belongs to a certificate, nil for none. There is no such part
// where the program's own TLS configuration chooses the certificate, which is not known before.
func scopeOf(
	cache tls.ClientSessionCache, certificate *tls.Certificate, identified bool,
) tls.ClientSessionCache {
	if certificate == nil {
		if identified {
			return nil
		}
		return scoped{cache: cache, scope: "rehome anonymous "}
	}
	h := sha256.New()
	for _, der := range certificate.Certificate {
		h.Write(der)
	}
	return scoped{cache: cache, scope: "rehome " + hex.EncodeToString(h.Sum(nil)) + " "}
}

func (s scoped) Get(server string) (*tls.ClientSessionState, bool) {
	return s.cache.Get(s.scope + server)
}

func (s scoped) Put(server string, session *tls.ClientSessionState) {
	s.cache.Put(s.scope+server, session)
}

// Session keeps one session, the last: for a device that has one server.
type Session struct {
	mu    sync.Mutex
	key   string
	state *tls.ClientSessionState
}

// Get returns the session, if it is the one that is asked for.
func (s *Session) Get(key string) (*tls.ClientSessionState, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.state != nil && s.key == key
}

// Put replaces the session; nil drops it.
func (s *Session) Put(key string, state *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state != nil || key == s.key {
		s.key, s.state = key, state
	}
}

// Forget drops the session of a certificate, nil for none, with a server.
func Forget(
	base *tls.Config, certificate *tls.Certificate, sessions tls.ClientSessionCache, server string,
) {
	config, err := Config(base, certificate, sessions)
	if err == nil && config.ClientSessionCache != nil {
		config.ClientSessionCache.Put(server, nil)
	}
}
