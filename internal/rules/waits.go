package rules

import (
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// Waits is what should outlive the process: until when hubs and DPS are to be left alone and why,
// a pending registration, a planned question, and since when the hub is silent. Times are distances
// from the moment of [State.Waits]. The zero value is a device that waits for nothing.
//
// Its fields are stored: see package waits.
type Waits struct {
	Hubs     []HubWait  `json:"hubs,omitempty"`
	DPS      DPSWait    `json:"dps,omitzero"`
	Outage   OutageWait `json:"outage,omitzero"`
	Urgent   bool       `json:"urgent,omitempty"`
	Refusals int        `json:"refusals,omitempty"`
}

// HubWait is a [HubRecord].
type HubWait struct {
	Hub      string        `json:"hub"`
	DeviceID string        `json:"device"`
	Class    retry.Class   `json:"class,omitempty"`
	Failures int           `json:"failures,omitempty"`
	Asked    time.Duration `json:"asked,omitempty"` // NotBefore
	In       time.Duration `json:"in,omitempty"`    // At
	Accepted bool          `json:"accepted,omitempty"`
	Missing  int           `json:"missing,omitempty"`
	Gone     time.Duration `json:"gone,omitempty"` // since MissingSince
	Gap      int           `json:"gap,omitempty"`
	GapIn    time.Duration `json:"gapIn,omitempty"`
	Quick    int           `json:"quick,omitempty"`
}

// DPSWait is a [DPSTimer].
type DPSWait struct {
	Planned     bool          `json:"planned,omitempty"`
	In          time.Duration `json:"in,omitempty"` // At
	Asked       time.Duration `json:"asked,omitempty"`
	ManualAsked time.Duration `json:"manual,omitempty"`
	Refused     time.Duration `json:"refused,omitempty"` // RefusedUntil
	Failures    int           `json:"failures,omitempty"`
	Silent      bool          `json:"silent,omitempty"`
	Request     Request       `json:"request,omitempty"`
	Operation   string        `json:"operation,omitempty"`
	Reason      Reason        `json:"reason,omitempty"`
	Clock       ClockPurpose  `json:"clock,omitempty"`
	Rejecting   string        `json:"rejecting,omitempty"`
	RejectingID string        `json:"rejectingID,omitempty"`
	NotFound    bool          `json:"notFound,omitempty"`
	ClockTries  int           `json:"clockTries,omitempty"` // Clock.Tries
}

// OutageWait is an [Outage].
type OutageWait struct {
	Silent time.Duration `json:"silent,omitempty"`
	Asked  int           `json:"asked,omitempty"`
	In     time.Duration `json:"in,omitempty"` // AskAt
}

// Waits is what should outlive the process, as of now.
func (s *State) Waits(now time.Time) Waits {
	left := func(at time.Time) time.Duration { return max(at.Sub(now), 0) }
	w := Waits{Urgent: s.Urgent, Refusals: s.Refusals}
	for i := range s.Hubs {
		r := &s.Hubs[i]
		if r.Failures == 0 && r.Gap == 0 && left(r.NotBefore) == 0 {
			continue
		}
		h := HubWait{
			Hub: r.Hub, DeviceID: r.DeviceID, Class: r.Class, Failures: r.Failures,
			Asked: left(r.NotBefore), In: left(r.At), Accepted: r.Accepted, Missing: r.Missing,
			Gap: r.Gap, GapIn: left(r.GapAt), Quick: r.Quick,
		}
		if r.Missing > 0 {
			h.Gone = now.Sub(r.MissingSince)
		}
		w.Hubs = append(w.Hubs, h)
	}
	if !s.Outage.Since.IsZero() {
		w.Outage = OutageWait{Silent: max(now.Sub(s.Outage.Since), 1), Asked: s.Outage.Asked}
		if at := s.Outage.AskAt; !at.IsZero() {
			w.Outage.In = max(left(at), 1)
		}
	}
	d := &s.DPS
	w.DPS = DPSWait{
		Asked: left(d.NotBefore), ManualAsked: left(d.ManualNotBefore),
		Refused: left(d.RefusedUntil),
	}
	if d.Pending() && d.Reason != ReasonManual {
		w.DPS.Planned, w.DPS.In, w.DPS.Request, w.DPS.Reason = true, left(d.At), d.Request, d.Reason
		w.DPS.Failures, w.DPS.Silent = d.Failures, d.Silent
		w.DPS.Operation, w.DPS.NotFound, w.DPS.Clock = d.Operation, d.notFound, d.Clock
		w.DPS.Rejecting, w.DPS.RejectingID = d.Rejecting.Hub, d.Rejecting.DeviceID
		if d.Clock != ClockForNone {
			w.DPS.ClockTries = s.Clock.Tries
		}
	}
	return w
}

// Alike says that two waits are the same but for a second.
func (w Waits) Alike(v Waits) bool {
	same := func(a, b time.Duration) bool { return (a - b).Abs() < time.Second }
	alike := len(w.Hubs) == len(v.Hubs) && w.Urgent == v.Urgent && w.Refusals == v.Refusals &&
		w.Outage.Asked == v.Outage.Asked && same(w.Outage.Silent, v.Outage.Silent) &&
		same(w.Outage.In, v.Outage.In) && same(w.DPS.In, v.DPS.In) &&
		same(w.DPS.Asked, v.DPS.Asked) && same(w.DPS.ManualAsked, v.DPS.ManualAsked) &&
		same(w.DPS.Refused, v.DPS.Refused)
	w.DPS.In, w.DPS.Asked, w.DPS.ManualAsked = v.DPS.In, v.DPS.Asked, v.DPS.ManualAsked
	w.DPS.Refused = v.DPS.Refused
	alike = alike && w.DPS == v.DPS
	for i := range min(len(w.Hubs), len(v.Hubs)) {
		a, b := w.Hubs[i], v.Hubs[i]
		alike = alike && same(a.Asked, b.Asked) && same(a.In, b.In) && same(a.Gone, b.Gone) &&
			same(a.GapIn, b.GapIn)
		a.Asked, a.In, a.Gone, a.GapIn = b.Asked, b.In, b.Gone, b.GapIn
		alike = alike && a == b
	}
	return alike
}

// IsZero says that the device waits for nothing.
func (w *Waits) IsZero() bool {
	return len(w.Hubs) == 0 && w.DPS == DPSWait{} && w.Outage == OutageWait{} && !w.Urgent &&
		w.Refusals == 0
}

// After is what is left of the waits some time later.
func (w Waits) After(elapsed time.Duration) Waits {
	pass := func(d *time.Duration) { *d = max(*d-elapsed, 0) }
	hubs := make([]HubWait, len(w.Hubs))
	for i, h := range w.Hubs {
		pass(&h.Asked)
		pass(&h.In)
		pass(&h.GapIn)
		if h.Missing > 0 {
			h.Gone += elapsed
		}
		hubs[i] = h
	}
	w.Hubs = hubs
	pass(&w.DPS.In)
	pass(&w.DPS.Asked)
	pass(&w.DPS.ManualAsked)
	pass(&w.DPS.Refused)
	if w.Outage.Silent > 0 {
		w.Outage.Silent += elapsed
	}
	if w.Outage.In > 0 {
		w.Outage.In = max(w.Outage.In-elapsed, 1)
	}
	return w
}

// Lasting is the part that a device without power needs too: since when the hub is silent, and the
// moment drawn for a question that has not been asked yet.
func (w Waits) Lasting() Waits {
	l := Waits{Outage: w.Outage}
	if w.DPS.Planned && w.DPS.Failures == 0 && w.DPS.Operation == "" {
		l.DPS = DPSWait{
			Planned: true, In: w.DPS.In, Request: w.DPS.Request, Reason: w.DPS.Reason,
			Clock: w.DPS.Clock, Rejecting: w.DPS.Rejecting, RejectingID: w.DPS.RejectingID,
		}
	}
	return l
}

func (h HubWait) record(now time.Time) HubRecord {
	r := HubRecord{
		Hub: h.Hub, DeviceID: h.DeviceID, Class: h.Class, Failures: h.Failures,
		NotBefore: now.Add(h.Asked), At: now.Add(h.In), Accepted: h.Accepted, Missing: h.Missing,
		Gap: h.Gap, GapAt: now.Add(h.GapIn), Quick: h.Quick,
	}
	if h.Missing > 0 {
		r.MissingSince = now.Add(-h.Gone)
	}
	return r
}

func (w DPSWait) timer(now time.Time) DPSTimer {
	d := DPSTimer{
		NotBefore: now.Add(w.Asked), ManualNotBefore: now.Add(w.ManualAsked),
		RefusedUntil: now.Add(w.Refused),
	}
	if !w.Planned {
		return d
	}
	d.Phase, d.At = Waiting, later(now.Add(w.In), d.NotBefore)
	d.Failures, d.Silent, d.Request, d.Reason = w.Failures, w.Silent, w.Request, w.Reason
	d.Operation, d.notFound, d.Clock = w.Operation, w.NotFound, w.Clock
	d.Rejecting = Assignment{Hub: w.Rejecting, DeviceID: w.RejectingID}
	return d
}

// Sane says that what was stored can be this package's own: nothing lies further ahead than any
// wait that it grants, and no number is out of range. Who can write the store could otherwise lock
// the device out.
func (w *Waits) Sane() bool {
	sane := len(w.Hubs) <= HubsKept && w.DPS.sane() && saneAge(w.Outage.Silent) &&
		saneWait(w.Outage.In) && saneCount(w.Outage.Asked) && saneCount(w.Refusals)
	for i := range w.Hubs {
		sane = sane && w.Hubs[i].sane()
		for j := range i {
			sane = sane && (w.Hubs[i].DeviceID != w.Hubs[j].DeviceID ||
				!SameHost(w.Hubs[i].Hub, w.Hubs[j].Hub))
		}
	}
	return sane
}

// saneAge says that something can have begun so long ago, and may become older.
func saneAge(d time.Duration) bool { return d >= 0 && d < 1<<62 }

// saneCount says that a number can have been counted.
func saneCount(n int) bool { return n >= 0 && n <= 1<<20 }

// LongestWait bounds what is believed of a stored wait: Retry-After with the widest jitter that a
// program is likely to set, and Stagger beside it.
const LongestWait = 7 * 24 * time.Hour

func saneWait(d time.Duration) bool { return d >= 0 && d <= LongestWait }

func (h *HubWait) sane() bool {
	return h.Hub != "" && saneWait(h.Asked) && saneWait(h.In) && saneWait(h.GapIn) &&
		saneAge(h.Gone) && saneCount(h.Failures) && saneCount(h.Missing) && saneCount(h.Gap) &&
		h.Quick >= 0 && h.Quick <= LagRetries
}

func (w *DPSWait) sane() bool {
	return saneWait(w.In) && saneWait(w.Asked) && saneWait(w.ManualAsked) && saneWait(w.Refused) &&
		saneCount(w.Failures) && saneCount(w.ClockTries) && w.Reason < reasons &&
		w.Request <= StatusLookup && w.Clock <= ClockForDPS
}
