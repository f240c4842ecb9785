// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Kinds of events.
const (
	kindDPS       = "dps"       // a request of DPS
	kindConnect   = "connect"   // an attempt to connect to a hub
	kindOperation = "operation" // something else that a device had a hub do
	kindTelemetry = "telemetry" // messages of the device, one after the other
	kindMoved     = "moved"     // its registration record changed
	kindLost      = "lost"      // its connection ended
)

// Outcomes of events.
const (
	ok      = "ok"
	refused = "refused"
	silent  = "silent" // no answer, so far
)

// event is one thing in the life of a device. Times are milliseconds of this machine's clock.
type event struct {
	At      int64  `json:"at"`
	Until   int64  `json:"until"` // when it was answered; At if it was not
	Kind    string `json:"kind"`
	To      string `json:"to"` // "dps", or the hub's host name
	What    string `json:"what"`
	Outcome string `json:"outcome"`
	Answer  string `json:"answer,omitempty"`
	Detail  string `json:"detail,omitempty"`
	Count   int    `json:"count,omitempty"` // of messages
	// what the answer asked for, in seconds; "" for nothing
	RetryAfter string `json:"retryAfter,omitempty"`
	// how long the device did nothing before this, in milliseconds, and why; 0: it did not wait
	Wait int64  `json:"wait,omitempty"`
	Why  string `json:"why,omitempty"`
}

// problem is the last error of a device, and when it last had a success.
type problem struct {
	text  string
	at    int64
	ofDPS bool
	// success of a hub and of DPS: times, 0 if there was none
	hubAt, dpsAt int64
}

// recovered says that the device works again: what a hub rejects is not over because DPS answers.
func (p problem) recovered() bool { return p.hubAt > p.at || p.ofDPS && p.dpsAt > p.at }

const (
	maxEvents  = 240    // of one device; the oldest go first
	maxHistory = 20_000 // devices, so that nobody fills the memory with names
	// how long an entry without an answer is looked at again
	patience = 30 * time.Second
)

// history is what devices did, by lower-case registration ID and device ID.
type history struct {
	mu     sync.Mutex
	events map[string][]event
	last   map[string]problem
	dps    int
	hubs   map[string]*positions
}

// positions are up to where the logs of a hub have been read.
type positions struct{ attempts, messages, operations int }

// read reads what is new in all logs.
func (h *history) read(sim *Simulator) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.events == nil {
		h.events, h.last = map[string][]event{}, map[string]problem{}
		h.hubs = map[string]*positions{}
	}
	now := time.Now()
	old := now.Add(-patience)
	requests, next := sim.DPS.RequestsFrom(h.dps)
	h.dps = next
	for i, r := range requests {
		waiting := r.Answered.IsZero()
		if waiting && r.Time.After(old) {
			h.dps = min(h.dps, next-len(requests)+i) // once more, later
		}
		if r.RegistrationID != "" {
			h.put(r.RegistrationID, ofDPS(r))
		}
	}
	offset := sim.Network.Now().Sub(now)
	for _, hub := range sim.Hubs {
		h.readHub(hub, offset, old)
	}
}

// readHub reads the logs of a hub, whose clock may be wrong.
func (h *history) readHub(hub *hubtest.Hub, offset time.Duration, old time.Time) {
	host := hub.Host()
	p := h.hubs[host]
	if p == nil {
		p = new(positions)
		h.hubs[host] = p
	}
	attempts, next := hub.AttemptsFrom(p.attempts)
	p.attempts = next
	for i, a := range attempts {
		a.Time = a.Time.Add(-offset)
		if !a.Answered && a.Time.After(old) {
			p.attempts = min(p.attempts, next-len(attempts)+i)
		}
		if a.DeviceID != "" {
			h.put(a.DeviceID, ofAttempt(host, a))
		}
	}
	operations, next := hub.OperationsFrom(p.operations)
	p.operations = next
	for _, o := range operations {
		o.Time = o.Time.Add(-offset)
		h.put(o.DeviceID, ofOperation(host, o))
	}
	messages, next := hub.MessagesFrom(p.messages)
	p.messages = next
	for _, m := range messages {
		at := m.Time.Add(-offset).UnixMilli()
		h.put(m.DeviceID, event{
			At: at, Until: at, Kind: kindTelemetry, To: host, What: "telemetry", Outcome: ok,
			Count: 1,
		})
	}
}

func ofDPS(r dpstest.Request) event {
	e := event{
		At: r.Time.UnixMilli(), Until: r.Time.UnixMilli(), Kind: kindDPS, To: "dps",
		What: string(r.Op), Outcome: silent, Detail: "over " + r.Transport,
		RetryAfter: r.RetryAfter,
	}
	if r.Op == dpstest.Lookup {
		e.What = "status lookup"
	}
	if r.Answered.IsZero() {
		return e
	}
	e.Until, e.Outcome = max(e.At, r.Answered.UnixMilli()), ok
	switch {
	case r.Op == dpstest.Connect:
		e.Answer = fmt.Sprintf("CONNACK %d", r.ReturnCode)
		if r.ReturnCode != 0 || r.Status >= 400 {
			e.Outcome = refused
		}
	case r.Status >= 400:
		e.Outcome, e.Answer = refused, fmt.Sprint(r.Status)
		if r.Code != 0 {
			e.Answer = fmt.Sprint(r.Code)
		}
	case r.Status == 202:
		e.Answer = "202 assigning"
	default:
		e.Answer = fmt.Sprint(r.Status)
	}
	return e
}

func ofAttempt(host string, a hubtest.Attempt) event {
	at := a.Time.UnixMilli()
	e := event{
		At: at, Until: at, Kind: kindConnect, To: host, What: "CONNECT", Outcome: silent,
		Detail: "over " + a.Transport,
	}
	switch {
	case a.Accepted():
		e.Outcome, e.Answer = ok, "CONNACK 0"
	case a.Answered && a.Status != 0:
		e.Outcome, e.Answer, e.Detail = refused, fmt.Sprint(a.Status), a.Reason
	case a.Answered:
		e.Outcome, e.Answer, e.Detail = refused, fmt.Sprintf("CONNACK %d", a.ReturnCode), a.Reason
	}
	return e
}

func ofOperation(host string, o hubtest.Operation) event {
	at := o.Time.UnixMilli()
	e := event{
		At: at, Until: at, Kind: kindOperation, To: host, What: o.On.String(), Outcome: ok,
		Detail: o.Detail, Answer: fmt.Sprint(o.Status),
	}
	switch {
	case o.Status == 0:
		e.Outcome, e.Answer = silent, ""
	case o.Status >= 400:
		e.Outcome = refused
		if o.Code != 0 {
			e.Answer = fmt.Sprint(o.Code)
		}
	}
	return e
}

// put adds an event to a device, or changes the one that it was when it had no answer; h.mu is
// held.
func (h *history) put(id string, e event) {
	id, _, _ = strings.Cut(strings.ToLower(id), "/") // a module's are its device's
	events, known := h.events[id]
	if !known && len(h.events) >= maxHistory {
		return
	}
	for i := len(events) - 1; i >= 0 && events[i].At >= e.At; i-- {
		o := &events[i]
		if o.At == e.At && o.Kind == e.Kind && o.To == e.To && o.What == e.What {
			if *o != e {
				*o = e
				h.judge(id, e)
			}
			return
		}
	}
	if n := len(events); n > 0 && e.Kind == kindTelemetry {
		if last := &events[n-1]; last.Kind == kindTelemetry && last.To == e.To {
			last.Until, last.Count = e.At, last.Count+1
			h.judge(id, e)
			return
		}
	}
	if len(events) >= maxEvents {
		events = slices.Delete(events, 0, maxEvents/10)
	}
	i := len(events)
	for i > 0 && events[i-1].At > e.At { // logs are read one after the other
		i--
	}
	h.events[id] = slices.Insert(events, i, e)
	h.judge(id, e)
}

// judge keeps the last error of a device. The logs are read one after the other, so an event may be
// older than one that was judged before.
func (h *history) judge(id string, e event) {
	p := h.last[id]
	switch {
	case e.Outcome == refused && (p.text == "" || e.Until >= p.at):
		where := e.To
		if where == "dps" {
			where = "DPS"
		} else {
			where, _, _ = strings.Cut(where, ".")
		}
		p.text = fmt.Sprintf("%s refused %s: %s", where, e.What, e.Answer)
		if e.Kind == kindConnect && e.Detail != "" {
			p.text += ", " + e.Detail
		}
		p.at, p.ofDPS = e.Until, e.Kind == kindDPS
	case e.Outcome != ok || e.Kind == kindMoved || e.Kind == kindLost:
		return
	case e.Kind == kindDPS:
		p.dpsAt = max(p.dpsAt, e.Until)
	default:
		p.hubAt = max(p.hubAt, e.Until)
	}
	h.last[id] = p
}

// note adds to a device's events what its place tells: that it moved, or lost its connection.
func (h *history) note(old, d device) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := time.Now().UnixMilli()
	if d.Hub != "" && (d.Hub != old.Hub || d.Substatus != old.Substatus && d.Substatus != "") {
		h.put(d.ID, event{
			At: at, Until: at, Kind: kindMoved, To: d.Hub, What: "assigned", Outcome: ok,
			Detail: d.Substatus,
		})
	}
	if old.Connected && (!d.Connected || d.Hub != old.Hub) {
		h.put(d.DeviceID, event{
			At: at, Until: at, Kind: kindLost, To: old.Hub, What: "connection ended",
			Outcome: ok,
		})
	}
}

// lastError returns the newer of the errors under two names. A device's requests to DPS are under
// the one, and its hub knows it by the other.
func (h *history) lastError(id, deviceID string) problem {
	h.mu.Lock()
	defer h.mu.Unlock()
	p, q := h.last[strings.ToLower(id)], h.last[strings.ToLower(deviceID)]
	hubAt, dpsAt := max(p.hubAt, q.hubAt), max(p.dpsAt, q.dpsAt)
	if p.text == "" || q.text != "" && q.at > p.at {
		p = q
	}
	p.hubAt, p.dpsAt = hubAt, dpsAt
	return p
}

// of returns the events of a device in their order, with its waits.
func (h *history) of(id, deviceID string) []event {
	h.mu.Lock()
	events := append([]event{}, h.events[strings.ToLower(id)]...) // [] and not null
	if !strings.EqualFold(id, deviceID) {
		events = append(events, h.events[strings.ToLower(deviceID)]...)
	}
	h.mu.Unlock()
	slices.SortStableFunc(events, func(a, b event) int { return int(a.At - b.At) })
	explain(events)
	return events
}
