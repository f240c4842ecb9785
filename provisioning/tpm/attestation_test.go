// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/tpm"
	"github.com/rehome-iot/rehome/retry"
)

// requireNoKey requires an attestation to have neither of its keys.
func requireNoKey(t *testing.T, a *tpm.Attestation, why string) {
	t.Helper()
	token, err := a.Token(t.Context(), atDPS, expiry)
	require.NoError(t, err)
	assert.Empty(t, token, "DPS challenges who has none")
	token, err = a.Token(t.Context(), atHub, expiry)
	require.ErrorIs(t, err, tpm.ErrNoKey)
	assert.Empty(t, token)
	assert.Equal(t, retry.Register, retry.Classify(err))
	oneLine(t, err, why)
}

func TestKeysThatTheServiceWrapsSignTokens(t *testing.T) {
	m, way := newTPM(t)
	store := new(cache.Memory)
	a := &tpm.Attestation{TPM: way, ID: "dev", Store: store}
	requireNoKey(t, a, "a registration gives one")
	activate(t, a, dps.ForDPS, key1)
	activate(t, a, dps.ForHub, key2)
	requireToken(t, a, atDPS, key1)
	requireToken(t, a, atHub, key2)
	requireToken(t, a, atHub+"/modules/m", key2)
	for _, size := range []int{900, 1013, 1014, 1100, 5000} { // around one command's 1024 bytes
		requireToken(t, a, strings.Repeat("x", size), key2)
	}

	activate(t, a, dps.ForHub, key1)
	requireToken(t, a, atHub, key1)

	// Another process has the store alone, after a restart of the machine too.
	require.NoError(t, way.Close())
	m.Stop()
	m.Resume()
	again := &tpm.Attestation{TPM: way, ID: "dev", Store: store}
	requireToken(t, again, atDPS, key1)
	requireToken(t, a, atHub, key1)
	require.NoError(t, way.Close())
	transient, persistent := handles(t, m)
	assert.Empty(t, transient)
	assert.Empty(t, persistent)
}

func TestWhatTheServiceSendsIsCheckedByTheTPM(t *testing.T) {
	m, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev"}
	blob := wrap(t, a, key1)
	for _, at := range []int{0, 10, 80, 400, 500, len(blob) - 10} {
		changed := bytes.Clone(blob)
		changed[at] ^= 0x40
		err := a.Activate(t.Context(), dps.ForDPS, changed)
		oneLine(t, err, "activate")
	}
	for _, short := range [][]byte{nil, blob[:1], blob[:300], blob[:len(blob)-4]} {
		oneLine(t, a.Activate(t.Context(), dps.ForDPS, short), "cut short")
	}
	requireNoKey(t, a, "in the store")
	require.NoError(t, way.Close())
	transient, _ := handles(t, m)
	assert.Empty(t, transient, "a failure leaves nothing")
}

// What others have made persistent is used if it is what the official clients make, and left alone
// if it is not.
func TestKeysOfOthersAreUsedAndKept(t *testing.T) {
	m, way := newTPM(t)
	a := &tpm.Attestation{TPM: way}
	ek, srk, err := a.PublicKeys(t.Context())
	require.NoError(t, err)
	id := a.RegistrationID()
	assert.Len(t, id, 52)
	require.NoError(t, way.Close())

	persist := func(handle uint32, hierarchy tpm2.TPMHandle, template tpm2.TPMTPublic) {
		direct(t, m, func(way transport.TPM) {
			made, err := tpm2.CreatePrimary{
				PrimaryHandle: hierarchy, InPublic: tpm2.New2B(template),
			}.Execute(way)
			require.NoError(t, err)
			_, err = tpm2.EvictControl{
				Auth:             tpm2.TPMRHOwner,
				ObjectHandle:     &tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
				PersistentHandle: tpm2.TPMHandle(handle),
			}.Execute(way)
			require.NoError(t, err)
			_, err = tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(way)
			require.NoError(t, err)
		})
	}
	evict := func(handles ...tpm2.TPMHandle) {
		direct(t, m, func(way transport.TPM) {
			for _, handle := range handles {
				read, err := tpm2.ReadPublic{ObjectHandle: handle}.Execute(way)
				require.NoError(t, err)
				_, err = tpm2.EvictControl{
					Auth:             tpm2.TPMRHOwner,
					ObjectHandle:     &tpm2.NamedHandle{Handle: handle, Name: read.Name},
					PersistentHandle: handle,
				}.Execute(way)
				require.NoError(t, err)
			}
		})
	}
	check := func(situation string) {
		t.Helper()
		b := &tpm.Attestation{TPM: way}
		ek2, srk2, err := b.PublicKeys(t.Context())
		require.NoError(t, err, situation)
		assert.Equal(t, ek, ek2, situation)
		assert.Equal(t, srk, srk2, situation)
		assert.Equal(t, id, b.RegistrationID(), situation)
		activate(t, b, dps.ForHub, key2)
		requireToken(t, b, atHub, key2)
		require.NoError(t, way.Close())
		transient, persistent := handles(t, m)
		assert.Empty(t, transient, situation)
		assert.Equal(t, []tpm2.TPMHandle{0x81000001, 0x81010001}, persistent, situation)
	}
	persist(0x81010001, tpm2.TPMRHEndorsement, tpm2.RSAEKTemplate)
	persist(0x81000001, tpm2.TPMRHOwner, tpm2.RSASRKTemplate)
	check("those of official clients")
	evict(0x81010001, 0x81000001)
	persist(0x81010001, tpm2.TPMRHEndorsement, tpm2.ECCEKTemplate)
	persist(0x81000001, tpm2.TPMRHOwner, tpm2.ECCSRKTemplate)
	check("others of somebody else")
}

func TestAKeyMayHaveAPersistentHandleOfItsOwn(t *testing.T) {
	m, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev", HubHandle: 0x81000200}
	activate(t, a, dps.ForHub, key1)
	activate(t, a, dps.ForHub, key2)
	requireToken(t, a, atHub, key2)
	// Without a store the TPM alone has the key.
	again := &tpm.Attestation{TPM: way, ID: "dev", HubHandle: 0x81000200}
	requireToken(t, again, atHub, key2)
	requireToken(t, again, strings.Repeat("x", 2000), key2)
	require.NoError(t, way.Close())
	_, persistent := handles(t, m)
	assert.Equal(t, []tpm2.TPMHandle{0x81000200}, persistent)

	// The store has a newer key than the TPM, where the power went between the two.
	store := new(cache.Memory)
	newer := &tpm.Attestation{TPM: way, ID: "dev", Store: store}
	activate(t, newer, dps.ForHub, key1)
	interrupted := &tpm.Attestation{TPM: way, ID: "dev", Store: store, HubHandle: 0x81000200}
	requireToken(t, interrupted, atHub, key1)

	// A handle that holds something else.
	require.NoError(t, way.Close())
	var foreign tpm2.TPM2BName
	direct(t, m, func(way transport.TPM) {
		made, err := tpm2.CreatePrimary{
			PrimaryHandle: tpm2.TPMRHOwner, InPublic: tpm2.New2B(tpm2.ECCSRKTemplate),
		}.Execute(way)
		require.NoError(t, err)
		foreign = made.Name
		_, err = tpm2.EvictControl{
			Auth:             tpm2.TPMRHOwner,
			ObjectHandle:     &tpm2.NamedHandle{Handle: made.ObjectHandle, Name: made.Name},
			PersistentHandle: 0x81000300,
		}.Execute(way)
		require.NoError(t, err)
		_, err = tpm2.FlushContext{FlushHandle: made.ObjectHandle}.Execute(way)
		require.NoError(t, err)
	})
	taken := &tpm.Attestation{TPM: way, ID: "dev", HubHandle: 0x81000300}
	_, err := taken.Token(t.Context(), atHub, expiry)
	require.ErrorIs(t, err, tpm.ErrNoKey)
	err = taken.Activate(t.Context(), dps.ForHub, wrap(t, taken, key1))
	oneLine(t, err, "0x81000300", "choose another handle")
	requireToken(t, taken, atHub, key1) // the key is in the store all the same
	require.NoError(t, way.Close())
	direct(t, m, func(way transport.TPM) {
		read, err := tpm2.ReadPublic{ObjectHandle: tpm2.TPMHandle(0x81000300)}.Execute(way)
		require.NoError(t, err)
		assert.Equal(t, foreign, read.Name)
	})
}

func TestACopyOfTheStoreIsOfNoUseToAnotherTPM(t *testing.T) {
	dir := t.TempDir()
	_, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev", Store: cache.Dir(dir)}
	activate(t, a, dps.ForDPS, key1)
	activate(t, a, dps.ForHub, key2)
	entry := []byte("the entry of the device")
	seal, err := a.Seal(t.Context(), entry)
	require.NoError(t, err)
	require.NoError(t, a.Verify(t.Context(), entry, seal))
	require.Error(t, a.Verify(t.Context(), entry[1:], seal))
	secret := []byte("a private key that only this TPM may unprotect")
	protected, err := a.Protect(t.Context(), secret)
	require.NoError(t, err)
	assert.NotContains(t, string(protected), "private")
	plain, err := a.Unprotect(t.Context(), protected)
	require.NoError(t, err)
	assert.Equal(t, secret, plain)
	again, err := a.Protect(t.Context(), secret)
	require.NoError(t, err)
	assert.NotEqual(t, protected, again)
	keys := tpm.Keys{TPM: way}
	_, reference, err := keys.Generate(t.Context())
	require.NoError(t, err)
	fingerprint, err := a.Fingerprint(t.Context())
	require.NoError(t, err)

	_, elsewhere := newTPM(t)
	b := &tpm.Attestation{TPM: elsewhere, ID: "dev", Store: cache.Dir(dir)}
	requireNoKey(t, b, "another TPM")
	oneLine(t, b.Verify(t.Context(), entry, seal), "another TPM made it")
	plain, err = b.Unprotect(t.Context(), protected)
	assert.Empty(t, plain)
	oneLine(t, err, "not protected by this TPM")
	_, err = tpm.Keys{TPM: elsewhere}.Load(t.Context(), reference)
	oneLine(t, err, "belongs to another TPM")
	other, err := b.Fingerprint(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, fingerprint, other)
	assert.Len(t, other, len(fingerprint))

	// Nor is what somebody has changed.
	for i := range protected {
		changed := bytes.Clone(protected)
		changed[i] ^= 1
		if i%7 == 0 { // each takes two commands
			_, err := a.Unprotect(t.Context(), changed)
			require.Error(t, err, "byte %d", i)
		}
	}
	_, err = a.Unprotect(t.Context(), protected[:20])
	require.Error(t, err)

	// Whoever puts the root's name of this TPM there gets no further: the TPM itself refuses.
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	activate(t, b, dps.ForHub, key1)
	own, err := b.Store.Get(t.Context(), "dev~tpm-hub")
	require.NoError(t, err)
	copied, err := a.Store.Get(t.Context(), "dev~tpm-dps")
	require.NoError(t, err)
	const name = 2 + 34
	forged := bytes.Clone(copied)
	copy(forged[17:], own[17:17+name])
	require.NoError(t, b.Store.Put(t.Context(), "dev~tpm-hub", forged))
	_, err = b.Token(t.Context(), atHub, expiry)
	require.ErrorIs(t, err, tpm.ErrNoKey)
	require.NoError(t, b.Store.Put(t.Context(), "dev~tpm-hub", []byte("something else")))
	_, err = b.Token(t.Context(), atHub, expiry)
	require.ErrorIs(t, err, tpm.ErrNoKey)
}

func TestAClearedTPMHasTheKeysNoMore(t *testing.T) {
	m, way := newTPM(t)
	store := new(cache.Memory)
	a := &tpm.Attestation{TPM: way, ID: "dev", Store: store}
	activate(t, a, dps.ForHub, key1)
	seal, err := a.Seal(t.Context(), nil)
	require.NoError(t, err)
	fingerprint, err := a.Fingerprint(t.Context())
	require.NoError(t, err)
	require.NoError(t, way.Close())
	direct(t, m, func(way transport.TPM) {
		_, err := tpm2.Clear{
			AuthHandle: tpm2.AuthHandle{
				Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil),
			},
		}.Execute(way)
		require.NoError(t, err)
	})
	require.Error(t, a.Verify(t.Context(), nil, seal))
	requireNoKey(t, a, "before it was cleared")
	without, err := a.Fingerprint(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, fingerprint, without, "the device registers")
	activate(t, a, dps.ForHub, key2)
	requireToken(t, a, atHub, key2)
	with, err := a.Fingerprint(t.Context())
	require.NoError(t, err)
	assert.Equal(t, fingerprint, with)
}

func TestTwoHundredOperationsAtOnceLeaveNothingInTheTPM(t *testing.T) {
	m, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev"}
	activate(t, a, dps.ForHub, key1)
	blob := wrap(t, a, key2)
	keys := tpm.Keys{TPM: way}
	signer, _, err := keys.Generate(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for i := range 200 {
		ctx := ctx
		if i%5 == 0 { // one that gives up in the middle of it
			short, cancel := context.WithTimeout(ctx, time.Duration(i)*time.Millisecond)
			defer cancel()
			ctx = short
		}
		group.Go(func() {
			var err error
			switch i % 4 {
			case 0:
				_, err = a.Token(ctx, atHub, expiry)
			case 1:
				_, err = a.Seal(ctx, []byte("x"))
			case 2:
				err = a.Activate(ctx, dps.ForDPS, blob)
			case 3:
				_, err = signer.Sign(nil, make([]byte, 32), nil)
			}
			if err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("operation %d: %v", i, err)
			}
		})
	}
	group.Wait()
	cancel()
	require.NoError(t, way.Close()) // after those that were given up
	transient, persistent := handles(t, m)
	assert.Empty(t, transient)
	assert.Empty(t, persistent)
}

func TestWhatIsSetWronglyIsToldInOneLine(t *testing.T) {
	for want, a := range map[string]*tpm.Attestation{
		"id \"a b\" must be":       {ID: "a b"},
		"id \"a.\" must be":        {ID: "a."},
		"DPSHandle 0x00000007 is":  {ID: "a", DPSHandle: 7},
		"HubHandle 0x81800000 is":  {ID: "a", HubHandle: 0x81800000},
		"HubHandle 0x81000100 is":  {ID: "a", HubHandle: 0x81000100},
		"DPSHandle 0x81000001 is":  {ID: "a", DPSHandle: 0x81000001},
		"are both 0x81000200":      {ID: "a", DPSHandle: 0x81000200, HubHandle: 0x81000200},
		"that the board has a TPM": {TPM: &tpm.TPM{Address: filepath.Join(t.TempDir(), "tpm")}},
	} {
		err := a.Validate()
		oneLine(t, err, want)
		assert.Equal(t, retry.Stop, retry.Classify(err), want)
	}
	absent := &tpm.Attestation{TPM: &tpm.TPM{Address: filepath.Join(t.TempDir(), "tpm")}}
	assert.Empty(t, absent.RegistrationID())
	absent = &tpm.Attestation{ID: "dev", TPM: absent.TPM}
	require.NoError(t, absent.Validate(), "the TPM may come up later than the program")
	_, _, err := absent.PublicKeys(t.Context())
	oneLine(t, err, "that the board has a TPM", absent.TPM.Address)
	require.ErrorIs(t, err, os.ErrNotExist)
	assert.Equal(t, retry.Wait, retry.Classify(err))
}

func TestNothingPrintsAKeyOrAPassword(t *testing.T) {
	_, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev"}
	activate(t, a, dps.ForHub, key1)
	with := &tpm.TPM{Address: "unix:x", OwnerAuth: key1, EndorsementAuth: key1}
	signer, reference, err := tpm.Keys{TPM: way}.Generate(t.Context())
	require.NoError(t, err)
	for _, value := range []any{a, with, signer, &tpm.Attestation{TPM: with}} {
		text := fmt.Sprintf("%v %+v %#v %s %d %x", value, value, value, value, value, value)
		raw, err := json.Marshal(value)
		require.NoError(t, err)
		var log bytes.Buffer
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "value", value)
		for _, secret := range []string{
			string(key1), fmt.Sprint(key1), fmt.Sprintf("%x", key1), fmt.Sprint(reference)[:40],
		} {
			assert.NotContains(t, text, secret)
			assert.NotContains(t, string(raw), secret)
			assert.NotContains(t, log.String(), secret)
		}
		assert.Contains(t, text, "TPM at unix:")
		assert.Contains(t, log.String(), "TPM at unix:")
	}
}
