// SPDX-License-Identifier: Apache-2.0

package provisioning_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// hourly is the life of certificates here. The service's last for 7 days or more.
const hourly = time.Hour

// renewalCount is how many renewals each fault is tried with: REHOME_TESTS=renewals takes minutes.
func renewalCount() int {
	if os.Getenv("REHOME_TESTS") == "renewals" {
		return 300
	}
	return 8
}

// siege is a device whose certificates last for an hour, and whose surroundings fail.
type siege struct {
	*rig
	dead     atomic.Bool // the process is: its connections are cut, nothing more is stored
	sent     atomic.Int64
	mu       sync.Mutex
	acked    map[string]bool // message IDs that Send has returned nil for
	needless []string        // registrations that nothing called for
	until    time.Time       // of the newest certificate
	renewals int
	dev      *provisioning.Device
}

// chatter is a session that sends a message every two minutes, and again what was not acknowledged.
func (s *siege) chatter(ctx context.Context, hub *hubconn.Conn) error {
	for {
		id := fmt.Sprint(s.sent.Add(1))
		err := hub.Send(ctx, hubconn.Message{Body: []byte(id), MessageID: id})
		if err == nil {
			s.mu.Lock()
			s.acked[id] = true
			s.mu.Unlock()
		}
		select {
		case <-time.After(2 * time.Minute):
		case <-ctx.Done():
			return nil
		}
	}
}

// device makes the process's device. What it registers for is looked at while it does.
func (s *siege) device() *provisioning.Device {
	dev := s.rig.issuingDevice()
	dial := dev.DialContext
	dev.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if s.dead.Load() {
			return nil, errors.New("the process is dead")
		}
		return dial(ctx, network, address)
	}
	dev.Trace = &provisioning.Trace{Request: func(r provisioning.DPSRequest) {
		c := dev.Status().Certificate
		life := c.ValidUntil.Sub(c.ValidFrom)
		if r.Kind != "register" || c.ValidUntil.IsZero() ||
			!time.Now().Before(c.ValidFrom.Add(life*85/100)) {
			return // there is none yet, or it is about to expire
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.needless = append(s.needless, r.Reason)
	}}
	return dev
}

// look counts a certificate that is new.
func (s *siege) look() {
	if c := s.dev.Status().Certificate; c.ValidUntil.After(s.until) {
		if !s.until.IsZero() {
			s.renewals++
		}
		s.until = c.ValidUntil
	}
}

// lost are the messages that were acknowledged and that no hub has.
func (s *siege) lost() (ids []string) {
	have := map[string]bool{}
	for _, h := range []*hubtest.Hub{s.a, s.b, s.c} {
		for _, m := range h.Messages() {
			have[string(m.Body)] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.acked {
		if !have[id] {
			ids = append(ids, id)
		}
	}
	return ids
}

// A fault of the surroundings, as the device's certificates are renewed under it.
type siegeFault struct {
	begin func(s *siege)        // once the device is connected
	tick  func(s *siege, n int) // every minute
	end   func(s *siege)
	setUp func(s *siege, dev *provisioning.Device) // of each process
	lives time.Duration                            // of a process; 0: it is never ended
}

// refusals makes the hub refuse each first question for a certificate.
func refusals(f hubtest.Fault) siegeFault {
	last := -1
	return siegeFault{tick: func(s *siege, _ int) {
		if s.renewals != last {
			last = s.renewals
			s.a.ClearFaults()
			s.a.Inject(f)
		}
	}}
}

// on and off say whether a fault that comes and goes begins or ends at a minute.
func on(n, every, lasts int) (begins, ends bool) {
	return n%every == every/2, n%every == (every/2+lasts)%every
}

var errFull = errors.New("no space left on device")

// fullStore is a store that cannot be written to for a while.
type fullStore struct {
	cache.WaitStore
	full *atomic.Bool
}

func (s fullStore) Put(ctx context.Context, key string, data []byte) error {
	if s.full.Load() {
		return errFull
	}
	return s.WaitStore.Put(ctx, key, data)
}

// deadlyStore ends the process at one operation, before or after it was carried out.
type deadlyStore struct {
	cache.WaitStore
	s     *siege
	left  *atomic.Int64 // operations until the end
	after bool
	kill  func()
}

func (d deadlyStore) at(do func() error) error {
	if d.s.dead.Load() {
		return errors.New("the process is dead")
	}
	if d.left.Add(-1) > 0 {
		return do()
	}
	if d.after {
		_ = do()
	}
	d.kill()
	return errors.New("the process has died")
}

func (d deadlyStore) Get(ctx context.Context, key string) (data []byte, err error) {
	err = d.at(func() error { data, err = d.WaitStore.Get(ctx, key); return err })
	return data, err
}

func (d deadlyStore) Put(ctx context.Context, key string, data []byte) error {
	return d.at(func() error { return d.WaitStore.Put(ctx, key, data) })
}

func (d deadlyStore) Delete(ctx context.Context, key string) error {
	return d.at(func() error { return d.WaitStore.Delete(ctx, key) })
}

func (d deadlyStore) PutWaits(ctx context.Context, key string, data []byte) error {
	return d.at(func() error { return d.WaitStore.PutWaits(ctx, key, data) })
}

var siegeFaults = map[string]func() siegeFault{
	"nothing": func() siegeFault { return siegeFault{} },
	"hub down for hours": func() siegeFault {
		return siegeFault{
			tick: func(s *siege, n int) {
				begins, ends := on(n, 8*60, 3*60)
				switch {
				case begins:
					s.network.SetFault(hubA, simnet.Refused)
					s.network.Cut(hubA)
				case ends:
					s.network.SetFault(hubA, simnet.None)
				}
			},
			end: func(s *siege) { s.network.SetFault(hubA, simnet.None) },
		}
	},
	"DPS down for days": func() siegeFault {
		return siegeFault{
			tick: func(s *siege, n int) {
				begins, ends := on(n, 3*24*60, 2*24*60)
				switch {
				case begins || n == 1:
					s.network.SetFault(s.dps.Endpoint(), simnet.Refused)
				case ends:
					s.network.SetFault(s.dps.Endpoint(), simnet.None)
				}
			},
			end: func(s *siege) { s.network.SetFault(s.dps.Endpoint(), simnet.None) },
		}
	},
	"clock 1970 at boot": func() siegeFault {
		return siegeFault{
			lives: 100 * time.Minute,
			setUp: func(_ *siege, dev *provisioning.Device) { stoppedClock(dev, time.Unix(0, 0)) },
		}
	},
	"store full": func() siegeFault {
		full := &atomic.Bool{}
		return siegeFault{
			lives: 200 * time.Minute,
			setUp: func(_ *siege, dev *provisioning.Device) {
				dev.Store = fullStore{dev.Store.(cache.WaitStore), full}
			},
			tick: func(_ *siege, n int) { full.Store(n/240%2 == 1) },
		}
	},
	"killed at each store operation": func() siegeFault {
		return siegeFault{lives: 24 * time.Hour}
	},
	"another key":   chained(hubtest.ChainOtherKey),
	"expired chain": chained(hubtest.ChainExpired),
	"garbage":       chained(hubtest.ChainGarbage),
	"accepted, and never issued": func() siegeFault {
		return refusals(hubtest.Fault{On: hubtest.IssueEnd, NoAnswer: true})
	},
	"too long": chained(hubtest.ChainHuge),
	"409":      coded(409004),
	"412":      coded(412001),
	"429":      coded(429002),
	"500":      coded(500001),
	"503":      coded(503001),
}

func coded(code int) func() siegeFault {
	return func() siegeFault { return refusals(hubtest.Fault{On: hubtest.IssueStart, Code: code}) }
}

func chained(chain hubtest.ChainFault) func() siegeFault {
	return func() siegeFault { return refusals(hubtest.Fault{On: hubtest.IssueEnd, Chain: chain}) }
}

// A device with certificates of an hour goes through so many renewals under each fault: it is never
// locked out, no acknowledged message is lost, and DPS is not asked for what the hub does.
func TestCertificatesAreRenewedUnderEveryFault(t *testing.T) {
	for name, makeFault := range siegeFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, wiring{})
				t.Cleanup(func() { require.NoError(t, r.network.Close()) })
				r.issues(hourly)
				s := &siege{rig: r, acked: map[string]bool{}}
				s.endure(t, makeFault(), strings.HasPrefix(name, "killed"))
			})
		})
	}
}

func (s *siege) endure(t *testing.T, f siegeFault, killed bool) {
	t.Helper()
	want, minutes, offline, longest := renewalCount(), 0, 0, 0
	for s.renewals < want {
		end := s.live(f, killed, minutes)
		for lived := 0; lived == 0 || s.renewals < want && !s.dead.Load() &&
			(f.lives == 0 || lived < int(f.lives/time.Minute)); lived++ {
			if minutes == 5 && f.begin != nil {
				f.begin(s)
			}
			if f.tick != nil {
				f.tick(s, minutes)
			}
			time.Sleep(time.Minute)
			minutes++
			s.look()
			if s.dev.Status().State != provisioning.StateConnected {
				offline++
				longest = max(longest, offline)
			} else {
				offline = 0
			}
			require.Less(t, minutes, 200*(want+10), "locked out: %+v", s.status())
		}
		end()
	}
	if f.end != nil {
		f.end(s)
	}
	s.a.ClearFaults()
	end := s.live(siegeFault{}, false, 0)
	time.Sleep(30 * time.Minute)
	last := s.status()
	assert.Equal(t, provisioning.StateConnected, last.State, "in the end: %+v", last)
	end()
	assert.Empty(t, s.lost(), "messages")
	assert.Empty(t, s.needless, "registrations")
	t.Logf("%d renewals in %v, %d registrations, offline for %d min at most, %d messages",
		s.renewals, time.Duration(minutes)*time.Minute, s.asked(dpstest.Register), longest,
		len(s.acked))
}

func (s *siege) status() provisioning.Status { return s.dev.Status() }

// live begins a process. What it returns ends it, as a kill does.
func (s *siege) live(f siegeFault, killed bool, minutes int) (end func()) {
	s.dead.Store(false)
	dev := s.device()
	ctx, cancel := context.WithCancel(context.Background())
	if killed {
		left := &atomic.Int64{}
		left.Store(int64(1 + minutes%29))
		dev.Store = deadlyStore{
			WaitStore: dev.Store.(cache.WaitStore), s: s, left: left, after: minutes%2 == 1,
			kill: func() {
				s.dead.Store(true)
				cancel()
			},
		}
	} else {
		dev.Store = &mortalStore{WaitStore: dev.Store.(cache.WaitStore)}
	}
	if f.setUp != nil {
		f.setUp(s, dev)
	}
	s.dev = dev
	ended := make(chan struct{})
	go func() { defer close(ended); _ = dev.Run(ctx, s.chatter) }()
	return func() {
		s.dead.Store(true)
		if m, ok := dev.Store.(*mortalStore); ok {
			m.dead.Store(true)
		}
		cancel()
		<-ended
	}
}
