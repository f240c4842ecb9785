// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Row by row: what the store says at boot, and what the device does.

func TestBootWithAValidEntryConnectsWithoutDPS(t *testing.T) {
	each(t, append(allWirings, hubWirings...), func(t *testing.T, r *rig) {
		r.boot()
		r.network.SetFault(dpstest.GlobalEndpoint, 0)
		dials := r.network.Dials(dpstest.GlobalEndpoint)
		stop := r.run(r.device())
		s := r.await(0, 10*time.Second)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Zero(t, r.asked())
		require.Equal(
			t, dials, r.network.Dials(dpstest.GlobalEndpoint), "not even a connection to DPS",
		)
	})
}

func TestBootWithoutAnEntryRegisters(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		stop := r.run(r.device())
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup))
		require.Less(t, s.at, 8*time.Second, "a registration with two polls")
	})
}

func TestBootAfterForgetRegisters(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		require.NoError(t, r.device().Forget(context.Background()))
		_, err := r.store.Get(context.Background(), rigID)
		require.ErrorIs(t, err, cache.ErrMiss)
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup))
	})
}

func TestBootWithARotatedKeyRegisters(t *testing.T) {
	each(t, dpsWirings, func(t *testing.T, r *rig) {
		r.boot()
		rotated := base64.StdEncoding.EncodeToString([]byte("canary-key-rotated-0123456789-ab"))
		require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: rigID, Attestation: dpstest.Keys(rotated, ""),
		}))
		r.att = dps.SymmetricKey{ID: rigID, Key: rotated}
		stop := r.run(r.device())
		r.await(0, time.Minute)
		stop()
		require.Equal(t, 1, r.asked(dpstest.Register))
		require.Zero(t, r.asked(dpstest.Lookup))
		for _, a := range append(r.a.Attempts(), append(r.b.Attempts(), r.c.Attempts()...)...) {
			require.True(
				t, a.Accepted(), "the hub was not tried with a credential it does not know",
			)
		}
	})
}

func TestBootWithARenewedCertificateRegisters(t *testing.T) {
	each(t, []wiring{{x509: true}, {dps: dps.MQTT, ws: true, x509: true}},
		func(t *testing.T, r *rig) {
			ca := r.network.CA()
			require.True(t, r.dps.RemoveEnrollment(rigID))
			require.NoError(t, r.dps.EnrollGroup(dpstest.EnrollmentGroup{
				EnrollmentGroupID: "fleet",
				Attestation:       dpstest.SigningCertificates(ca.Certificate(), nil),
				IoTHubs:           []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
			}))
			r.boot()
			r.att = dps.X509{KeyPair: ca.Device(rigID)}
			stop := r.run(r.device())
			s := r.await(0, time.Minute)
			stop()
			require.Equal(t, hubA, s.hub)
			require.Equal(t, 1, r.asked(dpstest.Register))
			require.Zero(t, r.asked(dpstest.Lookup))
			require.Len(
				t, r.a.Attempts(), 1,
				"the hub still knows the old thumbprint: it was not tried before the registration",
			)
		})
}

func TestBootWithAnEntryOfAnotherScopeIDOrEndpointRegisters(t *testing.T) {
	change := map[string]func(r *rig, dev *provisioning.Device){
		"scope": func(r *rig, dev *provisioning.Device) {
			other := dpstest.New(r.network, dpstest.Config{IDScope: "0ne00OTHER"})
			other.Link(r.b)
			require.NoError(r.t, other.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""),
			}))
			dev.IDScope, r.dps = "0ne00OTHER", other
		},
		"endpoint": func(r *rig, dev *provisioning.Device) {
			other := dpstest.New(
				r.network, dpstest.Config{Endpoint: "private.azure-devices-provisioning.net"},
			)
			other.Link(r.b)
			require.NoError(r.t, other.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: rigID, Attestation: dpstest.Keys(rigKey, ""),
			}))
			dev.Endpoint, r.dps = "private.azure-devices-provisioning.net", other
		},
	}
	for name, change := range change {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				dev := r.device()
				change(r, dev)
				stop := r.run(dev)
				s := r.await(0, time.Minute)
				stop()
				require.Equal(t, hubB, s.hub)
				require.Equal(t, 1, r.asked(dpstest.Register))
				require.Zero(t, r.asked(dpstest.Lookup))
				require.Empty(t, r.a.Attempts())
			})
		})
	}
	t.Run("registration ID", func(t *testing.T) {
		each(t, dpsWirings, func(t *testing.T, r *rig) {
			r.boot()
			data, err := r.store.Get(context.Background(), rigID)
			require.NoError(t, err)
			require.NoError(
				t, r.store.Put(context.Background(), "sensor-043", data), "a copied store",
			)
			require.NoError(t, r.dps.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: "sensor-043", Attestation: dpstest.Keys(rigKey, ""),
				IoTHubs: []string{hubB},
			}))
			r.att = dps.SymmetricKey{ID: "sensor-043", Key: rigKey}
			stop := r.run(r.device())
			s := r.await(0, time.Minute)
			stop()
			require.Equal(t, hubB, s.hub)
			require.Equal(t, 1, r.asked(dpstest.Register))
			require.Zero(t, r.asked(dpstest.Lookup))
			require.Empty(t, r.a.Attempts())
		})
	})
}

// brokenStore fails as a disk does.
type brokenStore struct {
	cache.Store
	get, put error
	puts     int
}

func (s *brokenStore) Get(ctx context.Context, key string) ([]byte, error) {
	if s.get != nil {
		return nil, s.get
	}
	return s.Store.Get(ctx, key)
}

func (s *brokenStore) Put(ctx context.Context, key string, data []byte) error {
	s.puts++
	if s.put != nil {
		return s.put
	}
	return s.Store.Put(ctx, key, data)
}

func spoil(f func(data []byte) []byte) func(r *rig) {
	return func(r *rig) {
		data, err := r.store.Get(context.Background(), rigID)
		require.NoError(r.t, err)
		require.NoError(
			r.t, r.store.Put(context.Background(), rigID, f(append([]byte(nil), data...))),
		)
	}
}

// checksummed makes a changed entry look sound again.
func checksummed(data []byte) []byte {
	sum := crc32.Checksum(data[:len(data)-4], crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(data[len(data)-4:], sum)
	return data
}

var unreadable = map[string]func(r *rig){
	"torn":    spoil(func(d []byte) []byte { return d[:len(d)/2] }),
	"empty":   spoil(func(d []byte) []byte { return nil }),
	"flipped": spoil(func(d []byte) []byte { d[40] ^= 1; return d }),
	"newer":   spoil(func(d []byte) []byte { d[4]++; return checksummed(d) }),
	"badly sealed": spoil(func(d []byte) []byte {
		d[len(d)-6] ^= 1
		return checksummed(d)
	}),
	"failing": func(r *rig) { r.store = &brokenStore{Store: r.store, get: errors.New("input/output error")} },
	"absent":  func(r *rig) { r.store = nil },
}

func TestBootWithAnUnreadableEntryLooksUp(t *testing.T) {
	for name, spoil := range unreadable {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.boot()
				spoil(r)
				stop := r.run(r.device())
				s := r.await(0, time.Minute)
				stop()
				require.Equal(t, hubA, s.hub)
				require.Less(t, s.at, time.Second, "assigned: the hub at once")
				require.Equal(t, 1, r.asked(dpstest.Lookup))
				require.Zero(t, r.asked(dpstest.Register))
			})
		})
	}
}

func TestBootLookupThatFindsNothingRegisters(t *testing.T) {
	for name, unassigned := range map[string]bool{"404": false, "unassigned": true} {
		t.Run(name, func(t *testing.T) {
			each(t, dpsWirings, func(t *testing.T, r *rig) {
				r.dps = dpstest.New(r.network, dpstest.Config{UnassignedLookup: unassigned})
				r.dps.Link(r.a)
				r.enroll(hubA)
				r.store = nil
				var reasons []string
				dev := r.device()
				dev.Trace = &provisioning.Trace{Request: func(q provisioning.DPSRequest) {
					reasons = append(reasons, q.Reason)
				}}
				stop := r.run(dev)
				r.await(0, time.Minute)
				stop()
				require.Equal(
					t, []string{"no usable store", "a lookup found no registration"}, reasons,
				)
				require.Equal(t, 1, r.asked(dpstest.Lookup))
				require.Equal(t, 1, r.asked(dpstest.Register))
			})
		})
	}
}

func TestATamperedEntryNeverLeadsToAForeignHub(t *testing.T) {
	each(t, []wiring{{}, {x509: true}}, func(t *testing.T, r *rig) {
		r.boot()
		data, err := r.store.Get(context.Background(), rigID)
		require.NoError(t, err)
		forged := append([]byte(nil), data...)
		at := indexOf(forged, hubA)
		require.Positive(t, at)
		copy(forged[at:], hubC)
		require.NoError(t, r.store.Put(context.Background(), rigID, checksummed(forged)))
		var warned []error
		dev := r.device()
		dev.Trace = &provisioning.Trace{
			StoreFailed: func(f provisioning.StoreFailure) {
				warned = append(warned, f.Err)
			},
		}
		stop := r.run(dev)
		s := r.await(0, time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Empty(t, r.c.Attempts())
		require.Len(t, warned, 1)
		require.ErrorContains(t, warned[0], "seal")
	})
}

func indexOf(data []byte, s string) int {
	for i := 0; i+len(s) <= len(data); i++ {
		if string(data[i:i+len(s)]) == s {
			return i
		}
	}
	return -1
}

func TestASteadyRebootWritesNothing(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		counting := &brokenStore{Store: r.store}
		r.store = counting
		r.boot()
		require.LessOrEqual(t, counting.puts, 2, "first boot: a candidate, then its confirmation")
		counting.puts = 0
		for range 5 {
			n := len(r.seen())
			stop := r.run(r.device())
			r.await(n, time.Minute)
			stop()
		}
		require.Zero(t, counting.puts)
	})
}

func TestAFullDiskIsReportedAndTheDeviceGoesOn(t *testing.T) {
	each(t, hubWirings, func(t *testing.T, r *rig) {
		r.store = &brokenStore{Store: r.store, put: errors.New("no space left on device")}
		dev := r.device()
		stop := r.run(dev)
		r.await(0, time.Minute)
		r.a.Disconnect(rigID)
		r.await(1, time.Minute)
		require.Equal(t, 1, r.asked(dpstest.Register), "remembered in memory")
		require.Positive(t, dev.Status().StoreFailures)
		stop()
	})
}

func TestEveryTruncationAndEveryFlippedBitIsAMiss(t *testing.T) {
	dir := t.TempDir()
	ctx := context.Background()
	r := &rig{t: t}
	t.Run("written", func(t *testing.T) { // returns when each's bubble has ended
		each(t, []wiring{{}}, func(t *testing.T, inner *rig) {
			inner.store = cache.Dir(dir)
			inner.boot()
			r.att, r.dps = inner.att, inner.dps
		})
	})
	dev := func() *provisioning.Device {
		return &provisioning.Device{
			IDScope: r.dps.IDScope(), Attestation: r.att, Store: cache.Dir(dir),
		}
	}
	got, err := dev().Remembered(ctx)
	require.NoError(t, err)
	require.Equal(t, hubA, got.Confirmed.Hub)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	data, err := os.ReadFile(files[0])
	require.NoError(t, err)
	require.LessOrEqual(t, len(data), 512)

	memory := &cache.Memory{}
	check := func(spoiled []byte, what string, i int) {
		t.Helper()
		require.NoError(t, memory.Put(ctx, rigID, spoiled))
		device := dev()
		device.Store = memory
		got, err := device.Remembered(ctx)
		require.NoError(t, err)
		require.Nil(t, got.Confirmed, "%s %d", what, i)
		require.NotEmpty(t, got.Problem, "%s %d", what, i)
	}
	for i := range data {
		check(data[:i], "cut at", i)
	}
	require.NoError(t, os.WriteFile(files[0], data[:len(data)/2], 0o600))
	got, err = dev().Remembered(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, got.Problem, "on a disk as in memory")
	for bit := range len(data) * 8 {
		spoiled := append([]byte(nil), data...)
		spoiled[bit/8] ^= 1 << (bit % 8)
		check(spoiled, "bit", bit)
	}
	for bit := range (len(data) - 4) * 8 {
		spoiled := append([]byte(nil), data...)
		spoiled[bit/8] ^= 1 << (bit % 8)
		check(checksummed(spoiled), "forged bit", bit)
	}
}

func TestWithoutPort443ALookupGivesWayToARegistrationOverMQTT(t *testing.T) {
	each(t, []wiring{{dps: dps.MQTT}}, func(t *testing.T, r *rig) {
		r.store = nil
		dev := r.device()
		dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasSuffix(address, ":443") {
				return nil, &net.OpError{Op: "dial", Err: errors.New("filtered")}
			}
			return r.network.DialContext(ctx, network, address)
		}
		stop := r.run(dev)
		s := r.await(0, 10*time.Minute)
		stop()
		require.Equal(t, hubA, s.hub)
		require.Equal(t, 3, dev.Status().Lookups)
		require.Equal(t, 1, r.asked(dpstest.Register))
	})
}
