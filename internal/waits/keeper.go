// SPDX-License-Identifier: Apache-2.0

package waits

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/internal/oneline"
	"github.com/rehome-iot/rehome/internal/rules"
)

const (
	version = 1

	// lastingAfter is how long an outage lasts before it is worth a write to flash: links are lost
	// every day, and most are back within the minute.
	lastingAfter = time.Minute

	// wakeCredit is how much time a wake counts for where no clock tells how long the device was
	// switched off.
	wakeCredit = 2 * time.Minute

	// rewriteAfter is after how long a device without a clock writes anew how long it was awake.
	rewriteAfter = 30 * time.Minute

	// keptFor is after how long without power only the outage is worth knowing.
	keptFor = 24 * time.Hour
)

// Owner is whose waits they are: whoever changes the scope, ID, endpoint or credential waits for
// nothing.
type Owner struct{ Scope, RegistrationID, Endpoint, Fingerprint string }

func (o Owner) hash() string {
	h := sha256.New()
	for _, s := range []string{o.Scope, o.RegistrationID, o.Endpoint, o.Fingerprint} {
		h.Write([]byte(s))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Keeper keeps the waits of one device. It belongs to one goroutine.
type Keeper struct {
	// Store holds them. Nil keeps nothing.
	Store cache.WaitStore

	// Key is the registration ID.
	Key string

	// Down is kept with the waits. The caller sets it before Save.
	Down rules.DownWait

	// Clock is the device's wall clock, corrected as far as it can be; Trusted says whether it is
	// to be believed.
	Clock   func() time.Time
	Trusted func() bool

	owner   string
	kept    snapshot // what the store holds
	unsure  bool     // or something else that an earlier process has kept
	lasting snapshot // what stands beside the entry
	beside  bool     // whether something does
	adopted bool     // it is an earlier process's, and goes on
	blind   bool     // no clock tells how long the device was switched off
}

// snapshot is waits as of a moment.
type snapshot struct {
	waits rules.Waits
	at    time.Time
}

// stillSays that what was kept then is what would be kept now: a wait that is over is no wait.
func (s snapshot) stillSays(w rules.Waits, now time.Time) bool {
	return s.waits.After(now.Sub(s.at)).Alike(w)
}

// stored is the form in which waits are kept.
type stored struct {
	Version int         `json:"v"`
	Owner   string      `json:"for"`
	Saved   int64       `json:"saved"` // Unix time
	Waits   rules.Waits `json:"waits"`
}

// besideKey is that of what stands beside the entry: no registration ID has a tilde.
func (k *Keeper) besideKey() string { return k.Key + "~waits" }

// Load returns what is left of what an earlier process was told to keep. unknown says that there
// was something, and that nobody can say what is left of it.
func (k *Keeper) Load(ctx context.Context, o Owner) (w rules.Waits, unknown bool, err error) {
	k.owner = o.hash()
	if k.Store == nil {
		return rules.Waits{}, false, nil
	}
	data, age, err := k.Store.GetWaits(ctx, k.Key)
	k.unsure = !errors.Is(err, cache.ErrMiss)
	if err != nil && k.unsure {
		k.beside = true
		return rules.Waits{}, false, err
	}
	s, ok := k.parse(data)
	if ok && age >= 0 {
		k.besideIsThere(ctx)
		k.kept, k.unsure = snapshot{s.Waits.After(age), time.Now()}, false
		return k.kept.waits, false, nil
	}
	beside, err := k.Store.Get(ctx, k.besideKey())
	k.beside = !errors.Is(err, cache.ErrMiss)
	if err != nil && k.beside {
		return rules.Waits{}, false, err
	}
	if l, there := k.parse(beside); there {
		k.adopted = true
		if !ok {
			s, ok = l, true
			s.Waits = s.Waits.Lasting()
		}
	}
	if !ok {
		return rules.Waits{}, false, nil
	}
	w, unknown = k.afterReboot(s)
	return w, unknown, nil
}

// besideIsThere remembers whether something stands beside the entry, so that it is removed in time.
func (k *Keeper) besideIsThere(ctx context.Context) {
	data, err := k.Store.Get(ctx, k.besideKey())
	k.beside = !errors.Is(err, cache.ErrMiss)
	_, k.adopted = k.parse(data)
}

// afterReboot is what is left, as far as a wall clock can tell. Where none can, an outage goes on,
// and the rest is dropped.
func (k *Keeper) afterReboot(s stored) (w rules.Waits, unknown bool) {
	off := k.Clock().Sub(time.Unix(s.Saved, 0))
	switch {
	case !k.Trusted() || off < 0:
		k.blind, k.adopted = true, false
		return s.Waits.Lasting().After(wakeCredit), !s.Waits.IsZero()
	case off > keptFor:
		return s.Waits.Lasting().After(off), false
	case off < wakeCredit:
		// A clock that begins where it stood when the power went shows less time than has passed.
		// What was asked for holds all the same; a question about an outage counts the wake.
		k.adopted = false
		w = s.Waits.After(off)
		early := w.After(wakeCredit - off)
		w.Outage = early.Outage
		if w.DPS.Reason == rules.ReasonOutage {
			w.DPS.In = early.DPS.In
		}
		return w, false
	}
	return s.Waits.After(off), false
}

// parse reads what was kept, if it is whole, of this version and this device's.
func (k *Keeper) parse(data []byte) (s stored, ok bool) {
	if len(data) == 0 || json.Unmarshal(data, &s) != nil || s.Version != version ||
		s.Owner != k.owner || !s.Waits.Sane() {
		return stored{}, false
	}
	return s, true
}

// Save keeps what should outlive the process, if it has changed. ending says that the process, or
// its use of the device, is about to end.
func (k *Keeper) Save(ctx context.Context, s *rules.State, ending bool) error {
	if k.Store == nil || k.owner == "" {
		return nil
	}
	now := time.Now()
	w := s.Waits(now)
	if k.Down.Attempts > 0 && (!w.IsZero() || k.Down.Told > 0 || ending) {
		w.Down = k.Down
	}
	var failed error
	if k.unsure || !k.kept.stillSays(w, now) {
		failed = k.put(ctx, w, func(data []byte) error {
			return k.Store.PutWaits(ctx, k.Key, data)
		})
		if failed == nil {
			k.kept, k.unsure = snapshot{w, now}, false
		}
	}
	return oneline.Join(failed, k.saveLasting(ctx, w.Lasting(), now, ending))
}

// saveLasting keeps what a device without power needs beside the entry, and removes it when it is
// over.
func (k *Keeper) saveLasting(
	ctx context.Context, w rules.Waits, now time.Time, ending bool,
) error {
	if !worthFlash(w, ending) {
		if !k.beside || silentFor(w) > 0 {
			return nil
		}
		if err := k.Store.Delete(ctx, k.besideKey()); err != nil {
			return err
		}
		k.beside, k.lasting = false, snapshot{}
		return nil
	}
	if k.adopted {
		k.adopted, k.lasting = false, snapshot{w, now}
	}
	if k.beside && k.lasting.stillSays(w, now) && !(ending && k.countsAwake(now)) {
		return nil
	}
	err := k.put(ctx, w, func(data []byte) error {
		return k.Store.Put(ctx, k.besideKey(), data)
	})
	if err == nil {
		k.beside, k.lasting = true, snapshot{w, now}
	}
	return err
}

// countsAwake says that the time awake is worth another write at the end of a use: no clock tells
// how long the device was switched off, and it has been awake for long since the last.
func (k *Keeper) countsAwake(now time.Time) bool {
	k.blind = k.blind && !k.Trusted()
	return k.blind && now.Sub(k.lasting.at) >= rewriteAfter
}

// worthFlash says that an outage has lasted, or that a moment was drawn that lies some way ahead.
func worthFlash(w rules.Waits, ending bool) bool {
	drawn := w.DPS.Planned && w.DPS.Reason != rules.ReasonOutage && w.DPS.In >= lastingAfter
	return drawn || silentFor(w) >= lastingAfter || ending && silentFor(w) > 0
}

// silentFor is since when nothing has worked: of a device that was never assigned, DPS.
func silentFor(w rules.Waits) time.Duration { return max(w.Outage.Silent, w.Down.For) }

// put stores waits, or their absence.
func (k *Keeper) put(ctx context.Context, w rules.Waits, store func([]byte) error) error {
	if w.IsZero() {
		return store(nil)
	}
	data, err := json.Marshal(stored{
		Version: version, Owner: k.owner, Saved: k.Clock().Unix(), Waits: w,
	})
	if err != nil {
		return err
	}
	return store(data)
}
