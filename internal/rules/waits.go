// SPDX-License-Identifier: Apache-2.0

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

	Renewal RenewalWait `json:"renewal,omitzero"`

	// Down is the caller's own: nothing is decided by it.
	Down DownWait `json:"down,omitzero"`
}

// DownWait is for how long the device has not been connected, as its log tells it.
type DownWait struct {
	For      time.Duration `json:"for,omitempty"` // since it last was
	Attempts int           `json:"attempts,omitempty"`
	Told     int           `json:"told,omitempty"` // warnings
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
	Refused     time.Duration `json:"refused,omitempty"`   // RefusedUntil
	Throttled   time.Duration `json:"throttled,omitempty"` // since ThrottledSince, plus 1
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

// RenewalWait is a [RenewalTimer], but for what the certificate itself tells.
type RenewalWait struct {
	Gap         time.Duration `json:"gap,omitempty"`
	HubIn       time.Duration `json:"hub,omitempty"`      // HubAt
	HubAsked    time.Duration `json:"hubAsked,omitempty"` // HubNotBefore
	DPSIn       time.Duration `json:"dps,omitempty"`      // DPSAt
	HubFailures int           `json:"hubFailures,omitempty"`
	DPSFailures int           `json:"dpsFailures,omitempty"`
	HubUnable   bool          `json:"unable,omitempty"`
	LastByDPS   bool          `json:"byDPS,omitempty"`
	Staggered   bool          `json:"staggered,omitempty"`
	Operation   string        `json:"operation,omitempty"`
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
			h.Gone = max(now.Sub(r.MissingSince), 1)
		}
		w.Hubs = append(w.Hubs, h)
	}
	if !s.Outage.Since.IsZero() {
		w.Outage = OutageWait{Silent: max(now.Sub(s.Outage.Since), 1), Asked: s.Outage.Asked}
		if at := s.Outage.AskAt; !at.IsZero() {
			w.Outage.In = max(left(at), 1)
		}
	}
	r := &s.Renewal
	w.Renewal = RenewalWait{
		Gap: left(r.GapUntil), HubIn: left(r.HubAt), HubAsked: left(r.HubNotBefore),
		DPSIn: left(r.DPSAt), HubFailures: r.HubFailures, DPSFailures: r.DPSFailures,
		HubUnable: r.HubUnable, LastByDPS: r.LastByDPS, Staggered: r.Staggered,
		Operation: r.Operation,
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
		if !d.ThrottledSince.IsZero() {
			w.DPS.Throttled = now.Sub(d.ThrottledSince) + 1
		}
		if d.Clock != ClockForNone {
			w.DPS.ClockTries = s.Clock.Tries
		}
	}
	return w
}

// ahead are the distances to moments that lie ahead, but for that of the outage's question, which
// says also whether there is one.
func (w *Waits) ahead() []*time.Duration {
	all := []*time.Duration{
		&w.DPS.In, &w.DPS.Asked, &w.DPS.ManualAsked, &w.DPS.Refused,
		&w.Renewal.Gap, &w.Renewal.HubIn, &w.Renewal.HubAsked, &w.Renewal.DPSIn,
	}
	for i := range w.Hubs {
		h := &w.Hubs[i]
		all = append(all, &h.Asked, &h.In, &h.GapIn)
	}
	return all
}

// ages are how long ago something began.
func (w *Waits) ages() []*time.Duration {
	all := []*time.Duration{&w.Outage.Silent, &w.Down.For, &w.DPS.Throttled}
	for i := range w.Hubs {
		all = append(all, &w.Hubs[i].Gone)
	}
	return all
}

// own is a copy that shares nothing.
func (w Waits) own() Waits {
	w.Hubs = append([]HubWait(nil), w.Hubs...)
	return w
}

// aliked is by how much two distances may differ, and be the same: what is stored is read a moment
// before the device begins.
const aliked = 100 * time.Millisecond

// Alike says that two waits are the same but for a moment.
func (w Waits) Alike(v Waits) bool {
	if len(w.Hubs) != len(v.Hubs) {
		return false
	}
	w = w.own()
	mine := append(append(w.ahead(), w.ages()...), &w.Outage.In)
	theirs := append(append(v.ahead(), v.ages()...), &v.Outage.In)
	for i := range mine {
		if (*mine[i] - *theirs[i]).Abs() >= aliked {
			return false
		}
		*mine[i] = *theirs[i]
	}
	for i := range w.Hubs {
		if w.Hubs[i] != v.Hubs[i] {
			return false
		}
	}
	return w.DPS == v.DPS && w.Outage == v.Outage && w.Urgent == v.Urgent &&
		w.Refusals == v.Refusals && w.Renewal == v.Renewal && w.Down == v.Down
}

// IsZero says that the device waits for nothing.
func (w *Waits) IsZero() bool {
	return len(w.Hubs) == 0 && w.DPS == DPSWait{} && w.Outage == OutageWait{} && !w.Urgent &&
		w.Refusals == 0 && w.Renewal == RenewalWait{} && w.Down == DownWait{}
}

// After is what is left of the waits some time later.
func (w Waits) After(elapsed time.Duration) Waits {
	w = w.own()
	for _, d := range w.ahead() {
		*d = max(*d-elapsed, 0)
	}
	for _, d := range w.ages() {
		if *d > 0 { // else it has not begun
			*d += elapsed
		}
	}
	if w.Outage.In > 0 {
		w.Outage.In = max(w.Outage.In-elapsed, 1)
	}
	return w
}

// Lasting is the part that a device without power needs too: since when the hub is silent, since
// when there is no connection, and the moment drawn for a question that has not been asked yet.
func (w Waits) Lasting() Waits {
	// how many attempts have failed changes too often
	l := Waits{Outage: w.Outage, Down: DownWait{For: w.Down.For, Told: w.Down.Told}}
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
	if w.Throttled > 0 {
		d.ThrottledSince = now.Add(1 - w.Throttled)
	}
	return d
}

func (w RenewalWait) timer(now time.Time) RenewalTimer {
	at := func(left time.Duration) time.Time {
		if left == 0 {
			return time.Time{}
		}
		return now.Add(left)
	}
	return RenewalTimer{
		GapUntil: at(w.Gap), HubAt: at(w.HubIn), HubNotBefore: at(w.HubAsked), DPSAt: at(w.DPSIn),
		HubFailures: w.HubFailures, DPSFailures: w.DPSFailures, HubUnable: w.HubUnable,
		LastByDPS: w.LastByDPS, Staggered: w.Staggered, Operation: w.Operation,
	}
}

// Sane says that what was stored can be this package's own: nothing lies further ahead than any
// wait that it grants, and no number is out of range. Who can write the store could otherwise lock
// the device out.
func (w *Waits) Sane() bool {
	sane := len(w.Hubs) <= HubsKept && w.DPS.sane() && saneCount(w.Outage.Asked) &&
		saneCount(w.Refusals) && saneCount(w.Renewal.HubFailures) &&
		saneCount(w.Renewal.DPSFailures) && saneCount(w.Down.Attempts) && saneCount(w.Down.Told)
	for _, d := range append(w.ahead(), &w.Outage.In) {
		sane = sane && *d >= 0 && *d <= LongestWait
	}
	for _, d := range w.ages() {
		sane = sane && *d >= 0 && *d < 1<<62 // it may become older
	}
	for i := range w.Hubs {
		sane = sane && w.Hubs[i].sane()
		for j := range i {
			sane = sane && (w.Hubs[i].DeviceID != w.Hubs[j].DeviceID ||
				!SameHost(w.Hubs[i].Hub, w.Hubs[j].Hub))
		}
	}
	return sane
}

// saneCount says that a number can have been counted.
func saneCount(n int) bool { return n >= 0 && n <= 1<<20 }

// LongestWait bounds what is believed of a stored wait: the widest Stagger that DPS may ask for, a
// week, after the longest distance of two questions about an outage.
const LongestWait = 9 * 24 * time.Hour

func (h *HubWait) sane() bool {
	return h.Hub != "" && saneCount(h.Failures) && saneCount(h.Missing) && saneCount(h.Gap) &&
		h.Quick >= 0 && h.Quick <= LagRetries
}

func (w *DPSWait) sane() bool {
	return saneCount(w.Failures) && saneCount(w.ClockTries) && w.Reason < reasons &&
		w.Request <= StatusLookup && w.Clock <= ClockForExpiry
}
