// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxWatchers = 32 // pages that are open at once
	maxBehind   = 32 // events that a slow page may be behind, before it is sent everything anew
	// a proxy or a sleeping laptop must not keep a dead connection for ever
	keepAlive = 15 * time.Second
)

// watchers are the pages that are open.
type watchers struct {
	mu  sync.Mutex
	all map[*watcher]bool
}

// watcher is one of them.
type watcher struct {
	events chan []byte
	behind chan struct{} // has an element when events were lost
}

// add makes a watcher, or returns nil when there are too many.
func (w *watchers) add() *watcher {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) >= maxWatchers {
		return nil
	}
	if w.all == nil {
		w.all = map[*watcher]bool{}
	}
	one := &watcher{make(chan []byte, maxBehind), make(chan struct{}, 1)}
	w.all[one] = true
	return one
}

func (w *watchers) remove(one *watcher) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.all, one)
}

// tell sends an event to all. It never waits for a page.
func (w *watchers) tell(name string, data any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.all) == 0 {
		return
	}
	event := encodeEvent(name, data)
	for one := range w.all {
		select {
		case one.events <- event:
		default:
			select {
			case one.behind <- struct{}{}:
			default:
			}
		}
	}
}

func encodeEvent(name string, data any) []byte {
	text, err := json.Marshal(data)
	if err != nil {
		text = []byte("null")
	}
	return fmt.Appendf(nil, "event: %s\ndata: %s\n\n", name, text)
}

// snapshot is everything a page needs to begin with.
type snapshot struct {
	Now      int64       `json:"now"`
	IDScope  string      `json:"idScope"`
	Hubs     []hub       `json:"hubs"`
	Devices  []device    `json:"devices"`
	Operator operatorNow `json:"operator"`
}

// watch serves the events of a page: everything, and from then on what changes.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	one := s.watchers.add()
	if one == nil {
		http.Error(w, "too many pages are open: close one", http.StatusServiceUnavailable)
		return
	}
	defer s.watchers.remove(one)
	w.Header().Set("Content-Type", "text/event-stream")
	control := http.NewResponseController(w)
	send := func(event []byte) bool {
		if control.SetWriteDeadline(time.Now().Add(30*time.Second)) != nil {
			return false
		}
		if _, err := w.Write(event); err != nil {
			return false
		}
		return control.Flush() == nil
	}
	everything := func() bool {
		devices, hubs := s.fleet.all()
		return send(encodeEvent("everything", snapshot{
			Now: time.Now().UnixMilli(), IDScope: s.sim.DPS.IDScope(), Hubs: hubs,
			Devices: devices, Operator: s.operator.now(),
		}))
	}
	_ = control.SetReadDeadline(time.Time{})
	ok := everything()
	ticker := time.NewTicker(keepAlive)
	defer ticker.Stop()
	for ok {
		select {
		case <-r.Context().Done():
			return
		case <-s.ctx.Done():
			return
		case <-one.behind:
			for len(one.events) > 0 {
				<-one.events
			}
			ok = everything()
		case event := <-one.events:
			ok = send(event)
		case <-ticker.C:
			ok = send([]byte(": still here\n\n"))
		}
	}
}
