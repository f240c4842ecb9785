// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// The limits of the feed.
const (
	defaultPage  = 100
	maxPage      = 1000
	maxPageBytes = 4 << 20 // a page ends after the event that goes beyond it
	maxStreams   = 64      // at a time
	keepAlive    = 15 * time.Second
	writeTimeout = 30 * time.Second // of a stream whose reader does not read
)

// feed shows the events of the network over HTTP: whatever happens at DPS and at hubs. It reads a
// log that has its own bounds, so that no device waits for a reader.
type feed struct {
	log     eventLog
	hubs    []string      // that events may be of
	streams chan struct{} // holds one for each stream under way
}

// eventLog is what the feed reads: [simnet.EventLog].
type eventLog interface {
	Read(after uint64, max int) (events []*simnet.Event, missed uint64)
	Last() uint64
	Changed() <-chan struct{}
}

func newFeed(log eventLog, hubs ...string) *feed {
	return &feed{log: log, hubs: hubs, streams: make(chan struct{}, maxStreams)}
}

// handler serves GET /events and GET /events/stream. It asks for no key: whoever mounts it protects
// it.
func (f *feed) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /events", f.servePage)
	mux.HandleFunc("GET /events/stream", f.serveStream)
	return mux
}

// page is one page of the list.
type page struct {
	Events []*simnet.Event `json:"events"`
	// Next is the position to go on from, as after.
	Next uint64 `json:"next"`
	// More says that there is another page already.
	More bool `json:"more"`
	// Missed is how many events before this page the log has dropped, of all kinds.
	Missed uint64 `json:"missed"`
}

func (f *feed) servePage(w http.ResponseWriter, r *http.Request) {
	q, err := f.readFilter(r.URL.Query(), "limit")
	if err != nil {
		refuseRequest(w, http.StatusBadRequest, err.Error())
		return
	}
	p := page{Events: []*simnet.Event{}, Next: q.after}
	if p.Next > f.log.Last() { // of a log before this one: the simulator was started anew
		p.Next = 0
	}
	size := 0
	for len(p.Events) < q.limit && size < maxPageBytes {
		events, missed := f.log.Read(p.Next, q.limit)
		p.Missed += missed
		p.Next += missed
		if len(events) == 0 {
			break
		}
		for _, e := range events {
			if len(p.Events) == q.limit || size >= maxPageBytes {
				break
			}
			p.Next = e.Position
			if q.matches(e) {
				p.Events = append(p.Events, e)
				if e.Message != nil {
					size += len(e.Message.Body)
				}
				size += 512
			}
		}
	}
	p.More = f.log.Last() > p.Next
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(p) // the reader may be gone
}

// serveStream sends events as they come, as server-sent events (WHATWG HTML §9.2), until the reader
// goes or the simulator ends.
func (f *feed) serveStream(w http.ResponseWriter, r *http.Request) {
	q, err := f.readFilter(r.URL.Query())
	after, resumed := q.after, q.hasAfter
	if id := r.Header.Get("Last-Event-ID"); err == nil && id != "" {
		after, err = strconv.ParseUint(id, 10, 64)
		resumed = true
	}
	if err != nil {
		refuseRequest(w, http.StatusBadRequest, err.Error())
		return
	}
	select {
	case f.streams <- struct{}{}:
		defer func() { <-f.streams }()
	default:
		w.Header().Set("Retry-After", "10")
		refuseRequest(w, http.StatusServiceUnavailable, fmt.Sprintf(
			"%d streams are open already", maxStreams,
		))
		return
	}
	if !resumed {
		after = f.log.Last()
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	s := stream{feed: f, w: w, out: http.NewResponseController(w), matches: q.matches}
	s.run(r.Context(), after)
}

// stream is one reader of server-sent events.
type stream struct {
	*feed
	w       http.ResponseWriter
	out     *http.ResponseController
	matches func(*simnet.Event) bool
}

func (s *stream) run(ctx context.Context, after uint64) {
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	if s.out.Flush() != nil { // the headers: the reader knows that it is in
		return
	}
	if after > s.log.Last() {
		after = 0
		if s.send(&simnet.Event{
			Kind: simnet.EventGap, Time: time.Now().UTC(),
			Reason: "the position is of another run of the simulator",
		}) != nil {
			return
		}
	}
	for {
		changed := s.log.Changed()
		var err error
		events, missed := s.log.Read(after, maxPage)
		if missed > 0 {
			after += missed
			err = s.send(&simnet.Event{
				Position: after, Kind: simnet.EventGap, Time: time.Now().UTC(), Missed: missed,
			})
		}
		for _, e := range events {
			after = e.Position
			if err == nil && s.matches(e) {
				err = s.send(e)
			}
		}
		if err != nil {
			return
		}
		if len(events) > 0 || missed > 0 {
			if s.out.Flush() != nil {
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-ticker.C:
			// An ID alone is no event, but the position that a reader comes back with.
			if s.write(fmt.Sprintf("id: %d\n\n", after)) != nil || s.out.Flush() != nil {
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

func (s *stream) send(e *simnet.Event) error {
	data, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return s.write(fmt.Sprintf("id: %d\nevent: %s\ndata: %s\n\n", e.Position, e.Kind, data))
}

func (s *stream) write(text string) error {
	if err := s.out.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.w.Write([]byte(text))
	return err
}

// filter says which events a reader wants, and from where.
type filter struct {
	after                uint64
	hasAfter             bool
	limit                int
	devices, hubs, kinds []string
}

// kinds are what a reader may ask for.
var kinds = []simnet.EventKind{
	simnet.EventTelemetry, simnet.EventConnected, simnet.EventDisconnected, simnet.EventRefused,
	simnet.EventTwin, simnet.EventC2D, simnet.EventMethod, simnet.EventUploadStarted,
	simnet.EventUploadEnded, simnet.EventOperation, simnet.EventRequest, simnet.EventRegistration,
	simnet.EventService, simnet.EventGap,
}

func (f *feed) readFilter(query url.Values, also ...string) (filter, error) {
	q := filter{limit: defaultPage}
	for name, values := range query {
		switch {
		case name == "device":
			q.devices = values
		case name == "hub":
			q.hubs = values
			if err := oneOf(q.hubs, f.hubs, "hub: %q is none of the hubs: %s"); err != nil {
				return q, err
			}
		case name == "kind":
			for _, kind := range values {
				q.kinds = append(q.kinds, strings.Split(kind, ",")...)
			}
			if err := oneOf(q.kinds, kinds, "kind: %q is no kind: known are %s"); err != nil {
				return q, err
			}
		case name == "after":
			n, err := strconv.ParseUint(values[0], 10, 64)
			if err != nil {
				return q, fmt.Errorf("after: %q is no position: use next of the page before, "+
					"or 0", values[0])
			}
			q.after, q.hasAfter = n, true
		case name == "limit" && slices.Contains(also, name):
			n, err := strconv.Atoi(values[0])
			if err != nil || n < 1 || n > maxPage {
				return q, fmt.Errorf("limit: %q is not 1 to %d", values[0], maxPage)
			}
			q.limit = n
		default:
			return q, fmt.Errorf("%s: is no parameter: known are %s", name, strings.Join(
				append([]string{"device", "hub", "kind", "after"}, also...), ", ",
			))
		}
	}
	return q, nil
}

// oneOf refuses what nothing will ever match, so that nobody waits for it.
func oneOf[S ~string](wanted []string, known []S, problem string) error {
	for _, want := range wanted {
		is := func(k S) bool { return strings.EqualFold(string(k), want) }
		if !slices.ContainsFunc(known, is) {
			var names []string
			for _, k := range known {
				names = append(names, string(k))
			}
			return fmt.Errorf(problem, want, strings.Join(names, ", "))
		}
	}
	return nil
}

func (q *filter) matches(e *simnet.Event) bool {
	is := func(wanted []string, values ...string) bool {
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(want string) bool {
			return slices.ContainsFunc(values, func(v string) bool {
				return v != "" && strings.EqualFold(v, want)
			})
		})
	}
	return is(q.devices, e.DeviceID, e.RegistrationID) && is(q.hubs, e.Hub) &&
		is(q.kinds, string(e.Kind))
}

// refuseRequest answers with an error of the simulator's own interface.
func refuseRequest(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": message}) // the reader may be gone
}
