// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// chip keeps keys as a small secure element would.
type chip struct {
	mu       sync.Mutex
	keys     map[string]crypto.Signer
	deleted  []string
	made     int
	busy     atomic.Int32
	overlaps atomic.Int32
	takes    time.Duration
	hangs    atomic.Bool // Generate does
	fails    atomic.Bool // Generate does
	loadFail atomic.Int32
	fixed    bool // there is one key only
	names    int  // how long they are, if not as short as can be
}

func (c *chip) work(ctx context.Context) error {
	if c.busy.Add(1) > 1 {
		c.overlaps.Add(1)
	}
	defer c.busy.Add(-1)
	select {
	case <-time.After(c.takes):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *chip) Generate(ctx context.Context) (crypto.Signer, []byte, error) {
	if c.hangs.Load() {
		<-ctx.Done()
		return nil, nil, context.Cause(ctx)
	}
	if err := c.work(ctx); err != nil {
		return nil, nil, err
	}
	if c.fails.Load() {
		return nil, nil, errors.New("no room for a key")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made++
	name := fmt.Sprint("slot ", c.made)
	if c.fixed {
		name = "slot 1"
	}
	name += strings.Repeat("x", max(c.names-len(name), 0))
	if c.keys == nil {
		c.keys = map[string]crypto.Signer{}
	}
	if c.keys[name] == nil {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return nil, nil, err
		}
		c.keys[name] = key
	}
	return c.keys[name], []byte(name), nil
}

func (c *chip) Load(ctx context.Context, reference []byte) (crypto.Signer, error) {
	if err := c.work(ctx); err != nil {
		return nil, err
	}
	if c.loadFail.Add(-1) >= 0 {
		return nil, errors.New("the chip is busy")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if key := c.keys[string(reference)]; key != nil {
		return key, nil
	}
	return nil, errors.New("no such key")
}

func (c *chip) Delete(ctx context.Context, reference []byte) error {
	if err := c.work(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.keys, string(reference))
	c.deleted = append(c.deleted, string(reference))
	return nil
}

func (c *chip) held() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.keys)
}

func (r *rig) chipDevice(c *chip) *provisioning.Device {
	dev := r.issuingDevice()
	dev.Issuance.Keys = c
	return dev
}

func TestAKeyStoreThatHangsHoldsUpNothingElse(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{}
		dev := r.chipDevice(c)
		stop := r.run(dev)
		r.await(0, time.Minute)
		c.hangs.Store(true)
		renewal := make(chan error, 1)
		go func() { renewal <- dev.Renew(t.Context()) }()
		time.Sleep(time.Second)
		require.True(t, r.a.Disconnect(rigID))
		r.await(1, 5*time.Minute)
		require.Error(t, <-renewal)
		stop()
	})
}

func TestAKeyStoreIsCalledOneAtATime(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{takes: time.Second}
		dev := r.chipDevice(c)
		stop := r.run(dev)
		r.await(0, time.Minute)
		stop()
		dev = r.chipDevice(c)
		go func() { _ = dev.Renew(t.Context()) }()
		stop = r.run(dev)
		r.await(1, time.Minute)
		for range 20 {
			go func() { _ = dev.Renew(t.Context()) }()
			time.Sleep(300 * time.Millisecond)
			r.a.Disconnect(rigID)
			time.Sleep(10 * time.Second)
		}
		stop()
		assert.Zero(t, c.overlaps.Load())
	})
}

func TestAKeyThatIsInUseIsNotDeletedThoughItIsMadeTwice(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{fixed: true}
		dev := r.chipDevice(c)
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Code: 500001})
		require.Error(t, dev.Renew(t.Context())) // a key waits
		stop()
		dev = r.chipDevice(c)
		stop = r.run(dev)
		r.await(1, time.Minute)
		c.loadFail.Store(1)
		time.Sleep(10 * time.Minute)
		_ = dev.Renew(t.Context())
		time.Sleep(time.Minute)
		assert.Empty(t, c.deleted)
		stop()
	})
}

func TestAKeyStoreThatFailsForEverCostsTheServicesLittle(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{}
		c.fails.Store(true)
		dev := r.chipDevice(c)
		stop := r.run(dev)
		r.await(0, time.Minute)
		assert.Equal(t, provisioning.CredentialAttestation, dev.Status().Credential)
		r.reset()
		time.Sleep(7 * 24 * time.Hour)
		t.Log("registrations", r.asked(dpstest.Register), "connects", len(r.a.Attempts()))
		assert.LessOrEqual(t, r.asked(dpstest.Register), 7)
		assert.Empty(t, r.seen())
		c.fails.Store(false)
		time.Sleep(25 * time.Hour)
		assert.Equal(t, provisioning.CredentialIssued, dev.Status().Credential)
		stop()
	})
}

func TestKeysAreRemovedAlsoWithoutAStore(t *testing.T) {
	each(t, []wiring{{}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{}
		dev := r.chipDevice(c)
		dev.Store = nil
		stop := r.run(dev)
		r.await(0, time.Minute)
		for range 5 {
			time.Sleep(2 * time.Second)
			require.NoError(t, dev.Renew(t.Context()))
		}
		time.Sleep(time.Second)
		assert.LessOrEqual(t, c.held(), 2)
		require.NoError(t, dev.Forget(t.Context()))
		assert.Zero(t, c.held())
		stop()
	})
}

func TestForgetDuringARenewalLeavesNothing(t *testing.T) {
	for _, how := range []string{"hub", "dps"} {
		t.Run(how, func(t *testing.T) {
			each(t, []wiring{{}, {dps: dps.MQTT}}, func(t *testing.T, r *rig) {
				r.issues(certLife)
				c := &chip{}
				dev := r.chipDevice(c)
				stop := r.run(dev)
				r.await(0, time.Minute)
				r.reset()
				slow := dpstest.Fault{On: dpstest.Register, Delay: 20 * time.Second, Perform: true}
				r.dps.Inject(slow)
				r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Delay: 20 * time.Second})
				go func() {
					if how == "hub" {
						t.Log(dev.Renew(t.Context()))
						return
					}
					_, err := dev.Reprovision(t.Context(), "test")
					t.Log(err)
				}()
				time.Sleep(5 * time.Second)
				require.NoError(t, dev.Forget(t.Context()))
				time.Sleep(time.Minute)
				t.Log(dev.Status().Certificate, c.held(), r.seen())
				require.True(t, r.a.Disconnect(rigID))
				r.await(0, 5*time.Minute)
				time.Sleep(time.Minute)
				s := dev.Status()
				t.Log(s.Certificate, r.asked(dpstest.Register), s.Credential, c.held())
				assert.Equal(t, provisioning.StateConnected, s.State)
				assert.Equal(t, provisioning.CredentialIssued, s.Credential)
				assert.LessOrEqual(t, c.held(), 2)
				stop()
			})
		})
	}
}

func TestWhatFailedBeforeIsForgottenOnceTheHubTakesTheCertificate(t *testing.T) {
	each(t, []wiring{{}, {ws: true}}, func(t *testing.T, r *rig) {
		r.issues(certLife)
		c := &chip{takes: time.Second}
		dev := r.chipDevice(c)
		stop := r.run(dev)
		r.await(0, time.Minute)
		first := dev.Status().Certificate
		r.reset()
		r.a.Inject(hubtest.Fault{On: hubtest.IssueStart, Delay: 5 * time.Second})
		done := make(chan error, 1)
		go func() { done <- dev.Renew(t.Context()) }()
		for range 200 {
			time.Sleep(50 * time.Millisecond)
			if c.busy.Load() > 0 && time.Since(r.start) > 4*time.Second {
				break
			}
		}
		require.True(t, r.a.Disconnect(rigID))
		t.Log(<-done)
		r.await(0, 5*time.Minute)
		time.Sleep(time.Hour)
		s := dev.Status()
		assert.True(t, s.Certificate.ValidUntil.After(first.ValidUntil))
		assert.True(t, s.Certificate.Accepted)
		assert.NoError(t, s.Certificate.Err)
		stop()
	})
}

func TestAReferenceOfAKeyIsFourKilobytesAtMost(t *testing.T) {
	for size, fits := range map[int]bool{4096: true, 4097: false} {
		each(t, []wiring{{}}, func(t *testing.T, r *rig) {
			_, stop := r.certified(certLife)
			stop()
			dev := r.chipDevice(&chip{names: size})
			err := dev.Renew(t.Context())
			if fits {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "a reference of 4097 bytes is not 1 to 4096")
		})
	}
}
