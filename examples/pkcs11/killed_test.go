// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/pkcs11/hsm"
	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func pemOf(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

var errDone = errors.New("done")

// connect is the life of a device that is not the program: it connects, sends a message, and ends.
func (w *world) connect(pair tls.Certificate, keys provisioning.KeyStore, store cache.Store) {
	w.t.Helper()
	p := &process{w: w, id: deviceID, keys: keys, store: store, points: -1}
	require.NoError(w.t, p.live(w.t.Context(), dps.X509{KeyPair: pair}, false))
}

// process is one that is killed at a point: before or after one of its uses of the store or the
// keys. Nothing that it does after that has an effect.
type process struct {
	w      *world
	id     string
	keys   provisioning.KeyStore
	store  cache.Store
	points int // until the end; below 0: none
	killed atomic.Bool
	kill   context.CancelCauseFunc
	at     string
}

var errKilled = errors.New("the process was killed")

// point does something that has a point before it and one after it.
func (p *process) point(what string, do func() error) error {
	if p.dies("before " + what) {
		return errKilled
	}
	err := do()
	if p.dies("after " + what) {
		return errKilled
	}
	return err
}

func (p *process) dies(at string) bool {
	if p.killed.Load() {
		return true
	}
	p.points--
	if p.points != 0 {
		return false
	}
	p.at = at
	p.killed.Store(true)
	p.kill(errKilled)
	return true
}

func (p *process) Get(ctx context.Context, key string) (data []byte, err error) {
	if p.killed.Load() {
		return nil, errKilled
	}
	return p.store.Get(ctx, key) // which changes nothing
}

func (p *process) Put(ctx context.Context, key string, data []byte) error {
	return p.point("put of "+key, func() error { return p.store.Put(ctx, key, data) })
}

func (p *process) Delete(ctx context.Context, key string) error {
	return p.point("delete of "+key, func() error { return p.store.Delete(ctx, key) })
}

// keyStore is the keys of a process.
type keyStore struct{ p *process }

func (k keyStore) Generate(ctx context.Context) (key crypto.Signer, ref []byte, err error) {
	err = k.p.point("generate", func() error {
		key, ref, err = k.p.keys.Generate(ctx)
		return err
	})
	return signer{key, k.p}, ref, err
}

func (k keyStore) Load(ctx context.Context, reference []byte) (crypto.Signer, error) {
	if k.p.killed.Load() {
		return nil, errKilled
	}
	key, err := k.p.keys.Load(ctx, reference)
	return signer{key, k.p}, err
}

// signer is a key of a process.
type signer struct {
	crypto.Signer
	p *process
}

func (k signer) Sign(r io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if k.p.killed.Load() {
		return nil, errKilled
	}
	return k.Signer.Sign(r, digest, opts)
}

func (k keyStore) Delete(ctx context.Context, reference []byte) error {
	return k.p.point("delete of a key", func() error { return k.p.keys.Delete(ctx, reference) })
}

// live connects, sends a message, renews the certificate if it should, and ends.
func (p *process) live(ctx context.Context, identity dps.Attestation, renews bool) error {
	ctx, p.kill = context.WithCancelCause(ctx)
	defer p.kill(nil)
	dev := &provisioning.Device{
		IDScope: p.w.dps.IDScope(), Attestation: identity, Store: p,
		Issuance: &provisioning.Issuance{},
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if p.killed.Load() {
				return nil, errKilled
			}
			return p.w.network.DialContext(ctx, network, address)
		},
		TLSConfig: p.w.network.TLSConfig(), Logger: slog.New(slog.DiscardHandler),
	}
	if p.keys != nil {
		dev.Issuance.Keys = keyStore{p}
	}
	err := dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
		if err := hub.Send(ctx, hubconn.Message{Body: []byte(p.id)}); err != nil {
			return err
		}
		if renews {
			if err := dev.Renew(ctx); err != nil {
				return err
			}
			if got := dev.Status().Credential; got != provisioning.CredentialIssued {
				return fmt.Errorf("the credential in use is %q", got)
			}
		}
		p.kill(errDone)
		<-ctx.Done()
		return nil
	})
	if errors.Is(err, errDone) {
		return nil
	}
	return err
}

// Wherever a process is killed, the next one connects and renews; what is left in the token is the
// key in use, and at most one that nobody uses any more.
func TestAKilledProcessLeavesOneKeyTooManyAtMost(t *testing.T) {
	label := label(t)
	softhsm.Init(t, label)
	module := softhsm.Module(t)
	synctest.Test(t, func(t *testing.T) {
		n := simnet.New()
		defer func() { require.NoError(t, n.Close()) }()
		w := &world{t: t, network: n}
		w.serve()
		token := func() *hsm.Token {
			return &hsm.Token{
				Module: module, Label: label,
				PIN: func() (string, error) { return softhsm.PIN, nil },
			}
		}
		labels := func() (new, used []string) {
			way := token()
			keys, err := way.List(t.Context())
			require.NoError(t, err)
			require.NoError(t, way.Close())
			for _, k := range keys {
				if strings.HasPrefix(k.Label, "rehome-new ") {
					new = append(new, k.Label)
				} else {
					used = append(used, k.Label)
				}
			}
			return new, used
		}
		var orphans, leftovers []string
		for n := 1; ; n++ {
			id := fmt.Sprint("board-", n)
			w.enroll(id, dpstest.Keys(deviceKey, ""), 24*time.Hour)
			identity := dps.SymmetricKey{ID: id, Key: deviceKey}
			store := &cache.Memory{}
			live := func(points int) *process {
				way := token()
				defer func() { require.NoError(t, way.Close()) }()
				p := &process{
					w: w, id: id, keys: hsm.Keys{Token: way, Device: id}, store: store,
					points: points,
				}
				err := p.live(t.Context(), identity, true)
				if p.killed.Load() {
					require.ErrorIs(t, err, errKilled)
				} else {
					require.NoError(t, err, id)
				}
				return p
			}
			first := live(n)
			new, _ := labels()
			assert.LessOrEqual(t, len(new), 1, "killed %s", first.at)
			if first.at == "after generate" {
				assert.Len(t, new, 1, "killed %s", first.at)
				orphans = append(orphans, first.at)
			}
			time.Sleep(time.Hour)
			live(-1)
			new, used := labels()
			assert.Empty(t, new, "killed %s", first.at)
			if assert.NotEmpty(t, used) && len(used) > 1 {
				assert.Len(t, used, 2, "killed %s", first.at)
				assert.Contains(t, []string{
					"after put of " + id + "~issued", "before delete of a key",
				}, first.at)
				leftovers = append(leftovers, first.at)
			}
			way := token()
			all, err := way.List(t.Context())
			require.NoError(t, err)
			for _, k := range all { // as a device that is scrapped
				require.NoError(t, hsm.Keys{Token: way}.Delete(t.Context(), k.ID))
			}
			require.NoError(t, way.Close())
			if !first.killed.Load() {
				assert.Greater(t, n, 10, "this test kills at too few points")
				break
			}
		}
		assert.Len(t, orphans, 2, "of the registration and the renewal")
		t.Logf("one old key was left by a process killed %q", leftovers)
	})
}
