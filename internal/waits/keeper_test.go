// SPDX-License-Identifier: Apache-2.0

package waits

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/rules"
	"github.com/rehome-iot/rehome/retry"
)

var owner = Owner{
	Scope: "0ne00ABCDEF", RegistrationID: "sensor-042", Endpoint: "dps", Fingerprint: "k1",
}

// machine is where a device's processes run one after the other. It has a store that counts, a wall
// clock that may be wrong, and memory that lasts until it is switched off.
type machine struct {
	t *testing.T
	cache.Memory
	puts, deletes, waitPuts int
	off                     time.Duration // of the wall clock
	trusted                 bool
	rebooted                bool
	broken                  error
}

func (m *machine) Put(ctx context.Context, key string, data []byte) error {
	m.puts++
	return errors.Join(m.broken, m.Memory.Put(ctx, key, data))
}

func (m *machine) Delete(ctx context.Context, key string) error {
	m.deletes++
	return m.Memory.Delete(ctx, key)
}

func (m *machine) PutWaits(ctx context.Context, key string, data []byte) error {
	m.waitPuts++
	if m.broken != nil {
		return m.broken
	}
	return m.Memory.PutWaits(ctx, key, data)
}

func (m *machine) GetWaits(ctx context.Context, key string) ([]byte, time.Duration, error) {
	data, age, err := m.Memory.GetWaits(ctx, key)
	if m.rebooted {
		age = -1
	}
	return data, age, err
}

// start is a new process: what it loads.
func (m *machine) start() (k *Keeper, w rules.Waits, unknown bool) {
	k = &Keeper{
		Store: m, Key: owner.RegistrationID,
		Clock:   func() time.Time { return time.Now().Add(m.off) },
		Trusted: func() bool { return m.trusted },
	}
	w, unknown, err := k.Load(m.t.Context(), owner)
	require.NoError(m.t, err)
	return k, w, unknown
}

func (m *machine) save(k *Keeper, s *rules.State, ending bool) {
	require.NoError(m.t, k.Save(m.t.Context(), s, ending))
}

func simulate(t *testing.T, test func(m *machine)) {
	synctest.Test(t, func(t *testing.T) { test(&machine{t: t, trusted: true}) })
}

func throttledFor(d time.Duration) *rules.State {
	s := &rules.State{}
	s.Hubs[0] = rules.HubRecord{
		Hub: "hub-a", DeviceID: "sensor-042", Class: retry.Throttled, Failures: 1,
		NotBefore: time.Now().Add(d), At: time.Now().Add(d),
	}
	s.DPS.NotBefore = time.Now().Add(d)
	return s
}

func silentSince(ago time.Duration) *rules.State {
	s := &rules.State{Outage: rules.Outage{Since: time.Now().Add(-ago), Asked: 1}}
	s.DPS = rules.DPSTimer{
		Phase: rules.Waiting, At: time.Now().Add(time.Hour), Reason: rules.ReasonOutage,
		Request: rules.StatusLookup,
	}
	return s
}

func TestWhatWasAskedForOutlivesTheProcessWithoutAWriteToFlash(t *testing.T) {
	simulate(t, func(m *machine) {
		k, w, unknown := m.start()
		require.True(t, w.IsZero())
		require.False(t, unknown)
		m.save(k, throttledFor(time.Minute), false)
		time.Sleep(20 * time.Second)
		m.off = 1000 * time.Hour // no wall clock makes a wait longer, or skips it
		_, w, unknown = m.start()
		require.False(t, unknown)
		require.Equal(t, 40*time.Second, w.Hubs[0].Asked)
		require.Equal(t, 40*time.Second, w.DPS.Asked)
		require.Equal(t, 1, w.Hubs[0].Failures)
		require.Zero(t, m.puts+m.deletes, "flash")
	})
}

func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		for range 5 {
			m.save(k, &rules.State{Connected: true}, false)
			m.save(k, &rules.State{}, true)
		}
		require.Zero(t, m.waitPuts+m.puts+m.deletes, "a steady device")
		s := throttledFor(time.Minute)
		for range 5 {
			m.save(k, s, false)
			time.Sleep(time.Second)
		}
		require.Equal(t, 1, m.waitPuts)
		m.save(k, &rules.State{}, false)
		require.Equal(t, 2, m.waitPuts, "removed when it is over")
		_, w, _ := m.start()
		require.True(t, w.IsZero())
	})
}

func TestWhatTheNextProcessFindsUnchangedIsNotWrittenAgain(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, throttledFor(time.Hour), false)
		puts := m.waitPuts
		for range 3 {
			time.Sleep(10 * time.Minute)
			k, w, _ := m.start()
			s := throttledFor(w.Hubs[0].Asked)
			m.save(k, s, false)
			require.Equal(t, puts, m.waitPuts)
			time.Sleep(time.Minute)
			m.save(k, s, true)
			require.Equal(t, puts, m.waitPuts)
		}
		k, w, _ := m.start()
		s := throttledFor(w.Hubs[0].Asked)
		s.Hubs[0].Failures++
		m.save(k, s, false)
		require.Equal(t, puts+1, m.waitPuts)
	})
}

func TestAWaitThatIsOverIsNoChange(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		time.Sleep(time.Millisecond)
		s := throttledFor(time.Second)
		s.DPS.NotBefore = time.Time{}
		m.save(k, s, false)
		puts := m.waitPuts
		time.Sleep(time.Second)
		m.save(k, s, false)
		s.Hubs[0].At, s.Hubs[0].NotBefore = time.Time{}, time.Time{} // as when it is connected to
		m.save(k, s, true)
		require.Equal(t, puts, m.waitPuts)

		s.Hubs[0].At = time.Now().Add(time.Minute)
		m.save(k, s, false)
		s.Hubs[0].At = time.Time{}
		m.save(k, s, false)
		require.Equal(t, puts+2, m.waitPuts, "one that is lifted before it is over is a change")
	})
}

func TestWhatAnEarlierProcessKeptIsRemovedByTheNext(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, throttledFor(time.Minute), false)
		k, _, _ = m.start()
		m.save(k, &rules.State{}, false)
		_, w, _ := m.start()
		require.True(t, w.IsZero())
	})
}

func TestAnOutageStandsBesideTheEntryOnceItHasLasted(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, silentSince(59*time.Second), false)
		require.Zero(t, m.puts, "links are lost every day")
		s := silentSince(time.Minute)
		m.save(k, s, false)
		m.save(k, s, true)
		require.Equal(t, 1, m.puts, "once when it begins")
		m.save(k, &rules.State{}, false)
		m.save(k, &rules.State{}, true)
		require.Equal(t, 1, m.puts)
		require.Equal(t, 1, m.deletes, "once when it ends")
	})
}

func TestAnOutageStandsBesideTheEntryWhenTheProcessEndsInIt(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, silentSince(5*time.Second), true)
		require.Equal(t, 1, m.puts)
	})
}

func TestADrawnMomentStandsBesideTheEntry(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		s := &rules.State{}
		s.DPS = rules.DPSTimer{
			Phase: rules.Waiting, At: time.Now().Add(time.Hour), Reason: rules.ReasonBoot,
		}
		m.save(k, s, false)
		require.Equal(t, 1, m.puts)
		require.NoError(t, m.PutWaits(t.Context(), owner.RegistrationID, nil)) // a power cut
		time.Sleep(20 * time.Minute)
		_, w, unknown := m.start()
		require.False(t, unknown)
		require.True(t, w.DPS.Planned)
		require.Equal(t, 40*time.Minute, w.DPS.In)
		require.Equal(t, rules.ReasonBoot, w.DPS.Reason)
	})
}

func TestAfterARebootATrustedClockTellsWhatIsLeft(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, throttledFor(time.Hour), false)
		m.rebooted = true
		time.Sleep(20 * time.Minute)
		_, w, unknown := m.start()
		require.False(t, unknown)
		require.Equal(t, 40*time.Minute, w.Hubs[0].Asked)

		time.Sleep(25 * time.Hour)
		_, w, unknown = m.start()
		require.False(t, unknown)
		require.Empty(t, w.Hubs, "a day later only an outage counts")
	})
}

func TestAfterARebootWithoutAClockOnlyAnOutageGoesOn(t *testing.T) {
	for name, wrong := range map[string]func(m *machine){
		"suspect": func(m *machine) { m.trusted = false },
		"behind":  func(m *machine) { m.off = -time.Hour },
	} {
		simulate(t, func(m *machine) {
			k, _, _ := m.start()
			s := silentSince(10 * time.Minute)
			s.DPS.NotBefore = time.Now().Add(time.Hour)
			m.save(k, s, false)
			m.rebooted = true
			wrong(m)
			_, w, unknown := m.start()
			require.True(t, unknown, name)
			require.Zero(t, w.DPS.Asked, name)
			require.Equal(t, 1, w.Outage.Asked, name)
			require.Equal(t, 58*time.Minute, w.DPS.In, "a wake counts for two minutes: %s", name)
		})
	}
}

func TestAClockThatStandsStillWithoutPowerCountsTheWakeForAnOutageAlone(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		s := silentSince(time.Hour)
		s.Hubs[0] = rules.HubRecord{
			Hub: "hub-a", Failures: 1, NotBefore: time.Now().Add(time.Minute),
		}
		m.save(k, s, false)
		m.rebooted = true
		_, w, unknown := m.start()
		require.False(t, unknown)
		require.Equal(t, 58*time.Minute, w.DPS.In)
		require.Equal(t, time.Minute, w.Hubs[0].Asked)
	})
}

func TestAClockThatIsTrustedAgainEndsTheCountOfWakes(t *testing.T) {
	simulate(t, func(m *machine) {
		m.trusted, m.rebooted = false, true
		k, _, _ := m.start()
		m.save(k, silentSince(time.Minute), true)
		require.NoError(t, m.Memory.PutWaits(t.Context(), owner.RegistrationID, nil))
		k, _, _ = m.start()
		s := silentSince(10 * time.Minute)
		puts := m.puts
		for range 60 { // a use each minute
			m.save(k, s, true)
			time.Sleep(time.Minute)
		}
		require.LessOrEqual(t, m.puts-puts, 2, "one process writes twice an hour")
		puts, m.trusted = m.puts, true
		for range 60 {
			m.save(k, s, true)
			time.Sleep(time.Minute)
		}
		require.Equal(t, puts, m.puts)
	})
}

func TestWhatStandsBesideTheEntryOfAnotherOwnerIsReplaced(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.save(k, silentSince(time.Hour), false)
		other := owner
		other.Fingerprint = "k2"
		load := func() (*Keeper, rules.Waits) {
			k := &Keeper{Store: m, Key: k.Key, Clock: k.Clock, Trusted: k.Trusted}
			w, _, err := k.Load(t.Context(), other)
			require.NoError(t, err)
			return k, w
		}
		rotated, w := load()
		require.True(t, w.IsZero())
		m.save(rotated, silentSince(5*time.Second), false) // too short to be written, and killed
		rotated, _ = load()
		puts := m.puts
		m.save(rotated, silentSince(2*time.Minute), false)
		require.Equal(t, puts+1, m.puts)
	})
}

func TestADeviceWithoutAClockCountsItsWakes(t *testing.T) {
	simulate(t, func(m *machine) {
		m.trusted, m.rebooted = false, true
		k, _, _ := m.start()
		s := silentSince(time.Minute)
		m.save(k, s, true)
		wakes := 0
		for left := time.Hour; left > 0; wakes++ {
			require.NoError(t, m.Memory.PutWaits(t.Context(), owner.RegistrationID, nil))
			k, w, _ := m.start()
			require.Less(t, w.DPS.In, left)
			left = w.DPS.In
			s.DPS.At = time.Now().Add(left)
			time.Sleep(time.Minute) // awake
			m.save(k, s, true)
		}
		require.InDelta(t, 20, wakes, 2, "three minutes each")
	})
}

func TestWaitsAreForTheirOwnerAlone(t *testing.T) {
	for name, other := range map[string]Owner{
		"scope": {"x", owner.RegistrationID, owner.Endpoint, owner.Fingerprint},
		"id":    {owner.Scope, "x", owner.Endpoint, owner.Fingerprint},
		"dps":   {owner.Scope, owner.RegistrationID, "x", owner.Fingerprint},
		"key":   {owner.Scope, owner.RegistrationID, owner.Endpoint, "x"},
	} {
		simulate(t, func(m *machine) {
			k, _, _ := m.start()
			m.save(k, throttledFor(time.Hour), false)
			k.owner = ""
			w, unknown, err := k.Load(t.Context(), other)
			require.NoError(t, err)
			require.True(t, w.IsZero(), name)
			require.False(t, unknown, name)
		})
	}
}

func TestWhatCannotBeOursIsNotBelieved(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		sound := func() stored {
			s := throttledFor(time.Hour)
			return stored{Version: version, Owner: k.owner, Waits: s.Waits(time.Now())}
		}
		good, err := json.Marshal(sound())
		require.NoError(t, err)
		_, ok := k.parse(good)
		require.True(t, ok)
		for n := range good {
			_, ok := k.parse(good[:n])
			require.False(t, ok, "cut to %d bytes", n)
		}
		for name, change := range map[string]func(s *stored){
			"newer":    func(s *stored) { s.Version++ },
			"for ever": func(s *stored) { s.Waits.Hubs[0].Asked = rules.LongestWait + 1 },
			"past":     func(s *stored) { s.Waits.DPS.Asked = -1 },
			"reason":   func(s *stored) { s.Waits.DPS.Reason = 99 },
			"hubs":     func(s *stored) { s.Waits.Hubs = make([]rules.HubWait, rules.HubsKept+1) },
			"no hub":   func(s *stored) { s.Waits.Hubs[0].Hub = "" },
			"failures": func(s *stored) { s.Waits.Hubs[0].Failures = -1 },
			"quick":    func(s *stored) { s.Waits.Hubs[0].Quick = 1 << 20 },
			"asked":    func(s *stored) { s.Waits.Outage.Asked = -1 },
		} {
			s := sound()
			change(&s)
			data, err := json.Marshal(s)
			require.NoError(t, err)
			_, ok := k.parse(data)
			require.False(t, ok, name)
		}
	})
}

func TestAStoreThatFailsIsReportedAndTriedAgain(t *testing.T) {
	simulate(t, func(m *machine) {
		k, _, _ := m.start()
		m.broken = errors.New("disk full")
		s := throttledFor(time.Hour)
		require.ErrorIs(t, k.Save(t.Context(), s, false), m.broken)
		m.broken = nil
		m.save(k, s, false)
		_, w, _ := m.start()
		require.Equal(t, time.Hour, w.Hubs[0].Asked)
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"v":1,"for":"x","waits":{"hubs":[{"hub":"a","asked":5}]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		k := Keeper{owner: "x"}
		if s, ok := k.parse(data); ok {
			state := rules.State{Settings: rules.Defaults()}
			state, _ = rules.Apply(
				state, rules.Boot{Waits: s.Waits}, time.Unix(1e9, 0), zero{},
			)
			if at, ok := state.Wake(); !ok || at.Sub(time.Unix(1e9, 0)) > rules.LongestWait {
				t.Errorf("waits for %v", at)
			}
			live(state)
		}
	})
}

// live takes a device with these waits through what may follow: nothing in them makes it panic.
func live(s rules.State) {
	now := time.Unix(1e9, 0)
	for _, hub := range []string{"x", "y", "z", "x", "y"} {
		a := rules.Assignment{Hub: hub, DeviceID: "sensor-042"}
		for _, e := range []rules.Event{
			rules.DPSFailed{Failure: rules.DPSRefused}, rules.DPSFailed{Silent: true},
			rules.Assigned{Assignment: a}, rules.HubFailure{Class: retry.Rejected},
			rules.HubFailure{NameNotFound: true}, rules.HubFailure{Class: retry.Throttled},
			rules.Nudge{}, rules.Resume{},
		} {
			now = now.Add(time.Hour)
			s, _ = rules.Step(s, e, now, zero{})
			s.Waits(now)
		}
	}
}

type zero struct{}

func (zero) Float64() float64 { return 0 }
