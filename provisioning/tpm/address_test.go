// SPDX-License-Identifier: Apache-2.0

package tpm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/swtpm"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/tpm"
	"github.com/rehome-iot/rehome/retry"
)

// forward hands all bytes of a TCP connection to the TPM and back.
func forward(t *testing.T, m *swtpm.TPM) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			near, err := l.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("unix", m.Socket)
			if err != nil {
				_ = near.Close()
				continue
			}
			go func() { _, _ = io.Copy(near, far); _ = near.Close() }()
			_, _ = io.Copy(far, near)
			_ = far.Close()
		}
	}()
	return l.Addr().String()
}

func TestATPMIsReachedByEachKindOfAddress(t *testing.T) {
	m := swtpm.Start(t)
	use := func(way *tpm.TPM) {
		t.Helper()
		a := &tpm.Attestation{TPM: way, ID: "dev"}
		activate(t, a, dps.ForHub, key1)
		requireToken(t, a, atHub, key1)
		require.NoError(t, way.Close())
		requireToken(t, a, atHub, key1)
		require.NoError(t, way.Close())
	}
	use(&tpm.TPM{Address: "unix:" + m.Socket})
	use(&tpm.TPM{Address: "tcp:" + forward(t, m)})
	use(&tpm.TPM{Address: "mssim:" + swtpm.Bridge(t, swtpm.Start(t), 0)})

	nc, err := net.Dial("unix", m.Socket)
	require.NoError(t, err)
	use(&tpm.TPM{Transport: transport.FromReadWriteCloser(nc)})
	_, err = nc.Write(nil)
	require.NoError(t, err, "a transport is not closed")
	require.NoError(t, nc.Close())
}

func TestATPMThatCannotBeOpenedIsToldInOneLine(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := free.Addr().String()
	require.NoError(t, free.Close())
	for address, want := range map[string]string{
		filepath.Join(dir, "absent"):           "check that the board has a TPM 2.0",
		"unix:" + filepath.Join(dir, "absent"): "check that the board has a TPM 2.0",
		file:                                   "not a device",
		"tcp:" + closed:                        "nobody listens there",
		"mssim:" + closed:                      "nobody listens there",
		"mssim:host":                           "missing port",
		"mssim:host:x":                         "invalid syntax",
	} {
		a := &tpm.Attestation{TPM: &tpm.TPM{Address: address}, ID: "dev"}
		_, _, err := a.PublicKeys(t.Context())
		oneLine(t, err, want, address)
		assert.Equal(t, retry.Wait, retry.Classify(err), address)
	}
}

func TestATPMThatWentAwayIsOpenedAgain(t *testing.T) {
	m, way := newTPM(t)
	a := &tpm.Attestation{TPM: way, ID: "dev"}
	activate(t, a, dps.ForHub, key1)
	m.Stop()
	_, err := a.Token(t.Context(), atHub, expiry)
	oneLine(t, err, "token")
	m.Resume()
	requireToken(t, a, atHub, key1)
}

// scripted answers the first commands with codes, and hands on the others.
type scripted struct {
	codes []tpm2.TPMRC
	next  transport.TPM
	sent  atomic.Int64
}

func (s *scripted) Send(command []byte) ([]byte, error) {
	s.sent.Add(1)
	if len(s.codes) == 0 {
		return s.next.Send(command)
	}
	code := s.codes[0]
	if len(s.codes) > 1 || s.next != nil {
		s.codes = s.codes[1:]
	}
	return append([]byte{0x80, 0x01, 0, 0, 0, 10}, binary.BigEndian.AppendUint32(nil,
		uint32(code))...), nil
}

func TestABusyTPMIsAskedAgain(t *testing.T) {
	m := swtpm.Start(t)
	nc, err := net.Dial("unix", m.Socket)
	require.NoError(t, err)
	busy := &scripted{
		codes: []tpm2.TPMRC{
			tpm2.TPMRCRetry, tpm2.TPMRCYielded, tpm2.TPMRCTesting, tpm2.TPMRCNVRate,
		},
		next: transport.FromReadWriteCloser(nc),
	}
	a := &tpm.Attestation{TPM: &tpm.TPM{Transport: busy}, ID: "dev"}
	_, err = a.Seal(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, nc.Close())
}

func TestATPMThatDoesNotRecoverIsToldInOneLine(t *testing.T) {
	for code, want := range map[tpm2.TPMRC]string{
		tpm2.TPMRCRetry:         "it is busy",
		tpm2.TPMRCLockout:       "locked out after wrong passwords",
		tpm2.TPMRCNVRate:        "spares its memory",
		tpm2.TPMRCFailure:       "the TPM is defective",
		tpm2.TPMRCObjectMemory:  "/dev/tpmrm0",
		tpm2.TPMRCSessionMemory: "/dev/tpmrm0",
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			broken := &scripted{codes: []tpm2.TPMRC{code}}
			a := &tpm.Attestation{TPM: &tpm.TPM{Transport: broken}, ID: "dev"}
			_, err := a.Seal(t.Context(), nil)
			oneLine(t, err, want)
			require.ErrorIs(t, err, code)
			assert.Equal(t, retry.Wait, retry.Classify(err))
			took := time.Since(began)
			assert.Less(t, took, 10*time.Second)
			if code == tpm2.TPMRCRetry {
				assert.Greater(t, took, 4*time.Second)
				assert.Less(t, broken.sent.Load(), int64(30))
			}
		})
	}
}

func TestWhoWaitsForABusyTPMMayGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := &scripted{codes: []tpm2.TPMRC{tpm2.TPMRCRetry}}
		a := &tpm.Attestation{TPM: &tpm.TPM{Transport: broken}, ID: "dev"}
		errEnough := errors.New("enough")
		first, cancelFirst := context.WithCancelCause(t.Context())
		second, cancelSecond := context.WithCancelCause(t.Context())
		results := make(chan error, 2)
		go func() { _, err := a.Seal(first, nil); results <- err }()
		synctest.Wait()
		go func() { _, err := a.Seal(second, nil); results <- err }()
		time.Sleep(time.Second)
		began := time.Now()
		cancelSecond(errEnough) // which has not had its turn
		require.Equal(t, errEnough, <-results)
		cancelFirst(errEnough)
		require.Equal(t, errEnough, <-results)
		assert.Zero(t, time.Since(began))
		_, err := a.Seal(second, nil)
		require.Equal(t, errEnough, err)
		time.Sleep(10 * time.Second)
		sent := broken.sent.Load()
		time.Sleep(time.Minute)
		assert.Equal(t, sent, broken.sent.Load(), "nobody asks for anybody who gave up")
	})
}

func TestPasswordsOfHierarchiesAreUsedAndMissed(t *testing.T) {
	m, way := newTPM(t)
	require.NoError(t, tpm.Use(t.Context(), way, func(x transport.TPM) {
		for _, hierarchy := range []tpm2.TPMHandle{tpm2.TPMRHOwner, tpm2.TPMRHEndorsement} {
			_, err := tpm2.HierarchyChangeAuth{
				AuthHandle: tpm2.AuthHandle{Handle: hierarchy, Auth: tpm2.PasswordAuth(nil)},
				NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("canary-pass-" + strconv.Itoa(1))},
			}.Execute(x)
			require.NoError(t, err)
		}
	}))
	require.NoError(t, way.Close())
	without := &tpm.Attestation{TPM: way, ID: "dev"}
	_, _, err := without.PublicKeys(t.Context())
	oneLine(t, err, "set OwnerAuth and EndorsementAuth")
	pass := []byte("canary-pass-1")
	with := &tpm.TPM{Address: way.Address, OwnerAuth: pass, EndorsementAuth: pass}
	require.NoError(t, way.Close())
	a := &tpm.Attestation{TPM: with, ID: "dev", HubHandle: 0x81000200}
	activate(t, a, dps.ForHub, key1)
	requireToken(t, a, atHub, key1)
	s := &tpm.CountedStore{Store: new(counts), TPM: with, Index: index}
	require.NoError(t, s.Put(t.Context(), "x", nil))
	require.NoError(t, with.Close())
	transient, _ := handles(t, m)
	assert.Empty(t, transient)
}
