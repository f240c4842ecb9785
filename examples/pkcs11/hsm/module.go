// SPDX-License-Identifier: Apache-2.0

package hsm

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"github.com/miekg/pkcs11"
)

// module is what is used of a PKCS #11 module. [pkcs11.Ctx] has it.
type module interface {
	Initialize(...pkcs11.InitializeOption) error
	Finalize() error
	GetSlotList(tokenPresent bool) ([]uint, error)
	GetTokenInfo(slot uint) (pkcs11.TokenInfo, error)
	OpenSession(slot uint, flags uint) (pkcs11.SessionHandle, error)
	CloseSession(pkcs11.SessionHandle) error
	GetSessionInfo(pkcs11.SessionHandle) (pkcs11.SessionInfo, error)
	Login(s pkcs11.SessionHandle, user uint, pin string) error
	FindObjectsInit(pkcs11.SessionHandle, []*pkcs11.Attribute) error
	FindObjects(s pkcs11.SessionHandle, most int) ([]pkcs11.ObjectHandle, bool, error)
	FindObjectsFinal(pkcs11.SessionHandle) error
	GetAttributeValue(
		pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute,
	) ([]*pkcs11.Attribute, error)
	SetAttributeValue(pkcs11.SessionHandle, pkcs11.ObjectHandle, []*pkcs11.Attribute) error
	GenerateKeyPair(
		s pkcs11.SessionHandle, m []*pkcs11.Mechanism, public, private []*pkcs11.Attribute,
	) (pkcs11.ObjectHandle, pkcs11.ObjectHandle, error)
	DestroyObject(pkcs11.SessionHandle, pkcs11.ObjectHandle) error
	SignInit(pkcs11.SessionHandle, []*pkcs11.Mechanism, pkcs11.ObjectHandle) error
	Sign(s pkcs11.SessionHandle, message []byte) ([]byte, error)
}

var _ module = (*pkcs11.Ctx)(nil)

// library is a module that is loaded. A process initializes a module once, whoever uses it there
// (PKCS #11, C_Initialize), so all tokens of a module share one.
type library struct {
	module
	users   int
	foreign bool // somebody else in this process has initialized it, and will end it

	// objects is held to write while keys are made, changed or removed: SoftHSM does not find an
	// object that another session is changing.
	objects sync.RWMutex

	mu       sync.Mutex
	sessions map[pkcs11.SessionHandle]*session // that are open, as far as is known
}

// opened notes a session. Modules give the handles of sessions that have ended to new ones: whoever
// had a session of the same handle has none any more, and must not use or close this one.
func (l *library) opened(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if former := l.sessions[s.handle]; former != nil {
		former.ended.Store(true)
	}
	l.sessions[s.handle] = s
}

// close ends a session, unless it has ended.
func (l *library) close(s *session) error {
	l.mu.Lock()
	if l.sessions[s.handle] == s {
		delete(l.sessions, s.handle)
	}
	l.mu.Unlock()
	if s.ended.Load() {
		return nil
	}
	return s.CloseSession(s.handle)
}

// libraries are those of this process by their path, with links resolved. They stay loaded: not all
// modules can be unloaded.
var libraries = struct {
	sync.Mutex
	byPath map[string]*library
}{byPath: map[string]*library{}}

// openLibrary loads a module and initializes it, unless it is in use.
func openLibrary(path string) (*library, error) {
	if path == "" {
		return nil, because(ErrModule, "Module is empty: give the path of the token's library")
	}
	// The linker would look for a bare name in directories of its own, and says nothing of why.
	at, err := filepath.EvalSymlinks(path)
	if err == nil {
		_, err = os.Stat(at)
	}
	if err != nil {
		return nil, because(ErrModule, "install it, or give its path: %w", err)
	}
	libraries.Lock()
	defer libraries.Unlock()
	l := libraries.byPath[at]
	if l == nil {
		loaded := pkcs11.New(at)
		if loaded == nil {
			return nil, because(ErrModule, "%s is no PKCS #11 module for this system, or a "+
				"library that it needs is missing (ldd shows them)", path)
		}
		l = &library{module: loaded, sessions: map[pkcs11.SessionHandle]*session{}}
		libraries.byPath[at] = l
	}
	if l.users == 0 {
		err := l.Initialize()
		l.foreign = errors.Is(err, pkcs11.Error(pkcs11.CKR_CRYPTOKI_ALREADY_INITIALIZED))
		if err != nil && !l.foreign {
			return nil, because(ErrModule, "%s does not start; does it have its settings? (%w)",
				path, err)
		}
	}
	l.users++
	return l, nil
}

// release ends the use of a module by one token.
func (l *library) release() error {
	libraries.Lock()
	defer libraries.Unlock()
	l.users--
	if l.users > 0 || l.foreign {
		return nil
	}
	if err := l.Finalize(); err != nil {
		return fmt.Errorf("end of the module: %w", err)
	}
	return nil
}
