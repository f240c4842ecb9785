// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Devices whose processes end: what is killed, switched off or put to sleep and starts again.

// mortalStore is what one process sees of a store. When the process is dead, nothing that it still
// writes is stored.
type mortalStore struct {
	cache.WaitStore
	dead atomic.Bool
}

func (s *mortalStore) Put(ctx context.Context, key string, data []byte) error {
	if s.dead.Load() {
		return nil
	}
	return s.WaitStore.Put(ctx, key, data)
}

func (s *mortalStore) Delete(ctx context.Context, key string) error {
	if s.dead.Load() {
		return nil
	}
	return s.WaitStore.Delete(ctx, key)
}

func (s *mortalStore) PutWaits(ctx context.Context, key string, data []byte) error {
	if s.dead.Load() {
		return nil
	}
	return s.WaitStore.PutWaits(ctx, key, data)
}

// coldStore is a store after the power was cut: its entries are there, and of the waits nothing is.
type coldStore struct{ cache.WaitStore }

func (coldStore) GetWaits(context.Context, string) ([]byte, time.Duration, error) {
	return nil, 0, cache.ErrMiss
}

// agelessStore is a store after the power was cut that kept the waits too, but not how old they
// are.
type agelessStore struct{ cache.WaitStore }

func (s agelessStore) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	data, _, err := s.WaitStore.GetWaits(ctx, key)
	return data, -1, err
}

// waits is the rig's store, which keeps what a device was told to wait for.
func (r *rig) waits() cache.WaitStore { return r.store.(cache.WaitStore) }

// life runs the device as a process that is killed after some time, and returns its status at the
// kill.
func (r *rig) life(dev *provisioning.Device, lasts time.Duration) provisioning.Status {
	store := &mortalStore{WaitStore: dev.Store.(cache.WaitStore)}
	dev.Store = store
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = dev.Run(ctx, r.session) }()
	time.Sleep(lasts)
	last := dev.Status()
	store.dead.Store(true)
	cancel()
	<-ended
	return last
}

// crashLoop starts the device and kills it, so many times, every 2 to 6 s. setUp may change each
// process's device.
func (r *rig) crashLoop(kills int, setUp ...func(*provisioning.Device)) {
	random := rand.New(rand.NewPCG(uint64(kills), 1))
	for range kills {
		dev := r.device()
		for _, f := range setUp {
			f(dev)
		}
		r.life(dev, 2*time.Second+time.Duration(random.Int64N(int64(4*time.Second))))
	}
}

// stoppedClock is the clock of a board without one: each process finds the same time at its start.
func stoppedClock(dev *provisioning.Device, at time.Time) {
	start := time.Now()
	trust := dev.TLSConfig.Clone()
	trust.Time = func() time.Time { return at.Add(time.Since(start)) }
	dev.TLSConfig = trust
}

// closePort443 makes a firewall of the device's network: port 443 is refused, or dropped.
func closePort443(dev *provisioning.Device, dropped bool) {
	open := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if !strings.HasSuffix(address, ":443") {
			return open(ctx, network, address)
		}
		failed := &net.OpError{
			Op: "dial", Net: network, Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443},
			Err: syscall.ECONNREFUSED,
		}
		if dropped {
			<-ctx.Done()
			failed.Err = ctx.Err()
		}
		return nil, failed
	}
}

// dialLog is when each host was dialled, since the rig was reset.
type dialLog struct {
	mu sync.Mutex
	at map[string][]time.Duration
}

func (l *dialLog) watch(r *rig) func(*provisioning.Device) {
	return func(dev *provisioning.Device) {
		open := dev.DialContext
		dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			host, _, _ := net.SplitHostPort(address)
			l.mu.Lock()
			if l.at == nil {
				l.at = map[string][]time.Duration{}
			}
			l.at[host] = append(l.at[host], r.elapsed())
			l.mu.Unlock()
			return open(ctx, network, address)
		}
	}
}

func (l *dialLog) to(host string) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]time.Duration(nil), l.at[host]...)
}

// times are those of the requests of some kinds to DPS, since the rig was reset.
func (r *rig) times(ops ...dpstest.Op) (at []time.Duration) {
	for _, q := range r.dps.Requests() {
		for _, op := range ops {
			if q.Op == op {
				at = append(at, q.Time.Sub(r.start))
			}
		}
	}
	return at
}

// stays makes the device known at a hub that DPS has moved it away from, as a hub is that was not
// told.
func (r *rig) stays(h *hubtest.Hub, move func() error) error {
	device, _ := h.Get(rigID)
	if err := move(); err != nil {
		return err
	}
	return h.Put(device)
}
