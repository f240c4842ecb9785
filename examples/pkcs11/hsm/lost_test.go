// SPDX-License-Identifier: Apache-2.0

package hsm_test

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/pkcs11"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
)

// socket is where a token is plugged in, which one in software has none of.
type socket struct {
	hsm.Module
	empty  atomic.Bool
	flags  atomic.Uint32 // more flags of the token
	full   atomic.Bool   // no more sessions
	hangs  atomic.Pointer[chan struct{}]
	logins atomic.Int32
	opened atomic.Int32
	closed atomic.Int32

	signed  atomic.Int32
	hanging atomic.Int32
}

func plugged(token *hsm.Token) *socket {
	s := &socket{}
	hsm.Before(token, func(m hsm.Module) hsm.Module { s.Module = m; return s })
	return s
}

func (s *socket) GetSlotList(present bool) ([]uint, error) {
	if s.empty.Load() {
		return nil, nil
	}
	return s.Module.GetSlotList(present)
}

func (s *socket) GetTokenInfo(slot uint) (pkcs11.TokenInfo, error) {
	info, err := s.Module.GetTokenInfo(slot)
	info.Flags |= uint(s.flags.Load())
	return info, err
}

func (s *socket) OpenSession(slot, flags uint) (pkcs11.SessionHandle, error) {
	if s.full.Load() {
		return 0, pkcs11.Error(pkcs11.CKR_SESSION_COUNT)
	}
	s.opened.Add(1)
	return s.Module.OpenSession(slot, flags)
}

func (s *socket) Login(h pkcs11.SessionHandle, user uint, pin string) error {
	s.logins.Add(1)
	if c := s.hangs.Load(); c != nil {
		<-*c
	}
	return s.Module.Login(h, user, pin)
}

func (s *socket) CloseSession(h pkcs11.SessionHandle) error {
	s.closed.Add(1)
	return s.Module.CloseSession(h)
}

func (s *socket) Sign(h pkcs11.SessionHandle, message []byte) ([]byte, error) {
	s.signed.Add(1)
	if c := s.hangs.Load(); c != nil {
		s.hanging.Add(1)
		<-*c
	}
	if s.empty.Load() {
		return nil, pkcs11.Error(pkcs11.CKR_DEVICE_REMOVED)
	}
	return s.Module.Sign(h, message)
}

// pull takes the token out: its sessions end.
func (s *socket) pull(t *testing.T) {
	t.Helper()
	s.empty.Store(true)
	s.endSessions(t)
}

func (s *socket) endSessions(t *testing.T) {
	t.Helper()
	slots, err := s.Module.GetSlotList(true)
	require.NoError(t, err)
	ctx := s.Module.(*pkcs11.Ctx)
	for _, slot := range slots {
		require.NoError(t, ctx.CloseAllSessions(slot))
	}
}

func TestATokenThatWasPulledOutWorksOnceItIsBack(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	keys := hsm.Keys{Token: token, Device: "dev"}
	key, reference, err := keys.Generate(t.Context())
	require.NoError(t, err)
	s.pull(t)
	for range 2 {
		oneLine(t, signs(key), hsm.ErrNoToken, "is it connected")
		_, err = keys.Load(t.Context(), reference)
		oneLine(t, err, hsm.ErrNoToken)
		_, _, err = keys.Generate(t.Context())
		oneLine(t, err, hsm.ErrNoToken)
		oneLine(t, keys.Delete(t.Context(), reference), hsm.ErrNoToken)
	}
	s.empty.Store(false)
	requireSigns(t, key)
	_, err = keys.Load(t.Context(), reference)
	require.NoError(t, err)
}

func TestATokenThatIsPulledOutWhileItSignsIsSaidSo(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	goOn := make(chan struct{})
	s.hangs.Store(&goOn)
	result := make(chan error)
	go func() { result <- signs(key) }()
	s.empty.Store(true)
	close(goOn)
	oneLine(t, <-result, hsm.ErrNoToken)
	s.empty.Store(false)
	requireSigns(t, key)
}

func TestSessionsThatTheTokenHasEndedAreReplaced(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	require.NoError(t, errorsOf(4, func() error { return signs(key) }))
	for range 3 {
		s.endSessions(t)
		require.NoError(t, errorsOf(4, func() error { return signs(key) }))
	}
}

// The handle of a session that has ended may be that of somebody else's now.
func TestASessionWhoseHandleIsAnothersIsNeitherUsedNorClosed(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	key, _, err := hsm.Keys{Token: token, Device: "dev"}.Generate(t.Context())
	require.NoError(t, err)
	requireSigns(t, key)
	opened, closed, signed := s.opened.Load(), s.closed.Load(), s.signed.Load()
	hsm.GiveAway(token)
	requireSigns(t, key)
	assert.Equal(t, signed+1, s.signed.Load(), "not in the other's session")
	assert.Equal(t, opened+1, s.opened.Load())
	assert.Equal(t, closed, s.closed.Load())

	// While it is in use, too: what was done there is done again.
	hang, result := make(chan struct{}), make(chan error)
	s.hangs.Store(&hang)
	go func() { result <- signs(key) }()
	require.Eventually(t, func() bool { return s.hanging.Load() == 1 }, 10*time.Second,
		time.Millisecond)
	hsm.GiveAway(token)
	s.hangs.Store(nil)
	close(hang)
	require.NoError(t, <-result)
	assert.Equal(t, opened+2, s.opened.Load())
	assert.Equal(t, closed, s.closed.Load())
}

func TestNoSessionIsFree(t *testing.T) {
	token := newToken(t)
	token.Sessions = 1
	s := plugged(token)
	keys := hsm.Keys{Token: token, Device: "dev"}
	key, _, err := keys.Generate(t.Context())
	require.NoError(t, err)

	requireSigns(t, key) // the first signature also changes the label

	// All are in use: one waits until its ctx ends, and what hangs does not hold up its caller.
	hang := make(chan struct{})
	s.hangs.Store(&hang)
	result := make(chan error)
	go func() { result <- signs(key) }()
	require.Eventually(t, func() bool { return hsm.Idle(token) == 0 }, 10*time.Second,
		time.Millisecond)
	ctx, cancel := context.WithTimeoutCause(t.Context(), time.Millisecond, errors.New("enough"))
	defer cancel()
	_, _, err = keys.Generate(ctx)
	oneLine(t, err, hsm.ErrNoSession, "all 1 are in use", "enough")
	s.hangs.Store(nil)
	close(hang)
	require.NoError(t, <-result)

	// The token has no more.
	s.endSessions(t)
	s.full.Store(true)
	oneLine(t, signs(key), hsm.ErrNoSession, "the token allows no more")
	s.full.Store(false)
	requireSigns(t, key)
}

func TestAModuleThatHangsDoesNotHoldUpItsCaller(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	keys := hsm.Keys{Token: token, Device: "dev"}
	key, reference, err := keys.Generate(t.Context())
	require.NoError(t, err)
	requireSigns(t, key)
	hang := make(chan struct{})
	s.hangs.Store(&hang)
	result := make(chan error)
	go func() { result <- signs(key) }()
	_, err = keys.Load(t.Context(), reference)
	require.NoError(t, err, "others go on")
	s.hangs.Store(nil)
	close(hang)
	require.NoError(t, <-result)
}

func TestALoginThatHangsHoldsUpNobodyBeyondTheirTime(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	hang := make(chan struct{})
	s.hangs.Store(&hang)
	for range 6 { // more than there are sessions
		ctx, cancel := context.WithTimeoutCause(
			t.Context(), 10*time.Millisecond, errors.New("enough"),
		)
		_, err := token.List(ctx)
		oneLine(t, err, nil, "enough")
		cancel()
	}
	s.hangs.Store(nil)
	close(hang)
	_, err := token.List(t.Context())
	require.NoError(t, err)
}

// SoftHSM locks no PIN; it counts here what would lock others.
func TestAWrongPINIsTriedOnce(t *testing.T) {
	token := newToken(t)
	s := plugged(token)
	token.PIN = pin("canary-pin-wrong")
	for range 5 {
		_, err := token.List(t.Context())
		oneLine(t, err, hsm.ErrPIN)
	}
	assert.EqualValues(t, 1, s.logins.Load())
	token.PIN = pin(softhsm.PIN)
	_, err := token.List(t.Context())
	require.NoError(t, err)
	assert.EqualValues(t, 2, s.logins.Load())
}

func TestALockedPINAndALastTryAreLeftAlone(t *testing.T) {
	for flag, words := range map[uint32]string{
		pkcs11.CKF_USER_PIN_LOCKED:    "security officer",
		pkcs11.CKF_USER_PIN_FINAL_TRY: "one try is left",
	} {
		t.Run(words, func(t *testing.T) {
			token := newToken(t)
			s := plugged(token)
			s.flags.Store(flag)
			_, err := token.List(t.Context())
			oneLine(t, err, hsm.ErrPINLocked, words)
			assert.Zero(t, s.logins.Load())
			s.flags.Store(0)
			_, err = token.List(t.Context())
			require.NoError(t, err)
		})
	}
}
