// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/cache/cachetest"
	"github.com/rehome-iot/rehome/provisioning/tpm"
)

const index = 0x01800042

func TestCountedStoreConforms(t *testing.T) {
	_, way := newTPM(t)
	cachetest.Run(t, func(t *testing.T) cache.Store {
		return &tpm.CountedStore{Store: cache.Dir(t.TempDir()), TPM: way, Index: index}
	})
}

// counts is a store that counts what is written, and fails when it is told to.
type counts struct {
	cache.Memory
	puts    int
	fail    error // of the next Put
	written bool  // the Put that fails has written all the same
}

func (c *counts) Put(ctx context.Context, key string, data []byte) error {
	c.puts++
	if err := c.fail; err != nil {
		c.fail = nil
		if c.written {
			err = errors.Join(err, c.Memory.Put(ctx, key, data))
		}
		return err
	}
	return c.Memory.Put(ctx, key, data)
}

// image is all that the medium has; it puts that back.
func (c *counts) image(t *testing.T) (restore func()) {
	t.Helper()
	data, err := c.Get(t.Context(), "~counted")
	require.NoError(t, err)
	return func() { require.NoError(t, c.Memory.Put(t.Context(), "~counted", data)) }
}

func requireEntry(t *testing.T, s cache.Store, key, want string) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want, string(got))
}

func TestAnOlderCopyOfTheEntriesIsRefused(t *testing.T) {
	m, way := newTPM(t)
	medium := new(counts)
	s := &tpm.CountedStore{Store: medium, TPM: way, Index: index}
	put := func(key, value string) {
		t.Helper()
		require.NoError(t, s.Put(t.Context(), key, []byte(value)))
	}
	put("dev", "hub 1")
	put("other", "x")
	old := medium.image(t)
	put("dev", "hub 2")
	latest := medium.image(t)

	for _, reader := range []*tpm.CountedStore{s, {Store: medium, TPM: way, Index: index}} {
		old()
		data, err := reader.Get(t.Context(), "dev")
		require.ErrorIs(t, err, tpm.ErrRolledBack)
		oneLine(t, err, "older copy")
		assert.Empty(t, data)
		latest()
		requireEntry(t, reader, "dev", "hub 2")
		requireEntry(t, reader, "other", "x")
	}
	// That an entry is gone is not undone either.
	require.NoError(t, s.Delete(t.Context(), "other"))
	latest()
	_, err := s.Get(t.Context(), "other")
	require.ErrorIs(t, err, tpm.ErrRolledBack)

	// Neither a reset of the TPM nor one that defines the counter anew helps.
	require.NoError(t, way.Close())
	m.Stop()
	m.Resume()
	old()
	_, err = s.Get(t.Context(), "dev")
	require.ErrorIs(t, err, tpm.ErrRolledBack)
	require.NoError(t, way.Close())
	direct(t, m, func(way transport.TPM) {
		area, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(way)
		require.NoError(t, err)
		_, err = tpm2.NVUndefineSpace{
			AuthHandle: tpm2.TPMRHOwner,
			NVIndex:    tpm2.NamedHandle{Handle: index, Name: area.NVName},
		}.Execute(way)
		require.NoError(t, err)
	})
	_, err = s.Get(t.Context(), "dev")
	require.ErrorIs(t, err, tpm.ErrRolledBack)

	// The device goes on with what it stores next.
	put("dev", "hub 3")
	requireEntry(t, s, "dev", "hub 3")
	_, err = s.Get(t.Context(), "other")
	require.ErrorIs(t, err, cache.ErrMiss, "what was refused is not taken over")

	_, elsewhere := newTPM(t)
	copied := &tpm.CountedStore{Store: medium, TPM: elsewhere, Index: index}
	_, err = copied.Get(t.Context(), "dev")
	oneLine(t, err, "another device")

	good, err := medium.Get(t.Context(), "~counted")
	require.NoError(t, err)
	for i := range good {
		changed := bytes.Clone(good)
		changed[i] ^= 1
		require.NoError(t, medium.Memory.Put(t.Context(), "~counted", changed))
		if i%5 == 0 {
			_, err := s.Get(t.Context(), "dev")
			require.Error(t, err, "byte %d", i)
		}
	}
}

func TestAWriteThatIsCutShortIsFinishedOrNeverHappened(t *testing.T) {
	_, way := newTPM(t)
	medium := new(counts)
	errPower := errors.New("the power is gone")
	s := &tpm.CountedStore{Store: medium, TPM: way, Index: index}
	require.NoError(t, s.Put(t.Context(), "dev", []byte("0")))
	for i, written := range []bool{false, true, true, false, true} {
		old := medium.image(t)
		was, err := s.Get(t.Context(), "dev")
		require.NoError(t, err)
		medium.fail, medium.written = errPower, written
		next := fmt.Sprint(i + 1)
		require.ErrorIs(t, s.Put(t.Context(), "dev", []byte(next)), errPower)
		s = &tpm.CountedStore{Store: medium, TPM: way, Index: index}
		if !written {
			requireEntry(t, s, "dev", string(was))
			continue
		}
		requireEntry(t, s, "dev", next)
		old()
		_, err = s.Get(t.Context(), "dev")
		require.ErrorIs(t, err, tpm.ErrRolledBack, "the counter has been made up for")
		require.NoError(t, s.Put(t.Context(), "dev", []byte(next)))
	}
}

func TestTheCounterIsSpared(t *testing.T) {
	m, way := newTPM(t)
	medium := new(counts)
	s := &tpm.CountedStore{Store: medium, TPM: way, Index: index}
	require.NoError(t, s.Put(t.Context(), "dev", []byte("x")))
	value := func() (n uint64) {
		require.NoError(t, way.Close())
		direct(t, m, func(way transport.TPM) {
			area, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(way)
			require.NoError(t, err)
			read, err := tpm2.NVRead{
				AuthHandle: tpm2.AuthHandle{
					Handle: index, Name: area.NVName, Auth: tpm2.PasswordAuth(nil),
				},
				NVIndex: tpm2.NamedHandle{Handle: index, Name: area.NVName}, Size: 8,
			}.Execute(way)
			require.NoError(t, err)
			for _, b := range read.Data.Buffer {
				n = n<<8 | uint64(b)
			}
		})
		return n
	}
	before := value()
	for range 3 {
		requireEntry(t, s, "dev", "x")
		require.NoError(t, s.Delete(t.Context(), "absent"))
		require.NoError(t, s.Put(t.Context(), "dev~waits", []byte("y")))
		requireEntry(t, s, "dev~waits", "y")
		require.NoError(t, s.PutWaits(t.Context(), "dev", []byte("z")))
	}
	assert.Equal(t, before, value())
	require.NoError(t, s.Put(t.Context(), "dev", []byte("y")))
	assert.Equal(t, before+1, value())
	require.NoError(t, s.Delete(t.Context(), "dev"))
	assert.Equal(t, before+2, value())
}

func TestAnIndexOfSomebodyElseIsLeftAlone(t *testing.T) {
	m, way := newTPM(t)
	area := tpm2.TPMSNVPublic{
		NVIndex: index, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{OwnerWrite: true, OwnerRead: true, AuthRead: true, AuthWrite: true},
	}
	direct(t, m, func(way transport.TPM) {
		_, err := tpm2.NVDefineSpace{
			AuthHandle: tpm2.TPMRHOwner, PublicInfo: tpm2.New2B(area),
		}.Execute(way)
		require.NoError(t, err)
	})
	s := &tpm.CountedStore{Store: new(cache.Memory), TPM: way, Index: index}
	oneLine(t, s.Put(t.Context(), "dev", nil), "0x01800042", "choose another")
	_, err := s.Get(t.Context(), "dev")
	oneLine(t, err, "choose another")
	for _, wrong := range []*tpm.CountedStore{
		{Store: new(cache.Memory), TPM: way},
		{Store: new(cache.Memory), TPM: way, Index: 0x01400100},
	} {
		oneLine(t, wrong.Put(t.Context(), "dev", nil), "0x01800000 to 0x01bfffff")
	}
	nowhere := &tpm.CountedStore{TPM: way, Index: index}
	oneLine(t, nowhere.Delete(t.Context(), "dev"), "Store is nil")
}
