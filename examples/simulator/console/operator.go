// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

const (
	maxFaults   = 64
	maxRecorded = 2000
	maxDone     = 50 // shown on the page
)

// operator is what was done by hand: the faults that are on, and the recording.
type operator struct {
	// one at a time: what a fault leaves on when it goes depends on the others
	turn sync.Mutex

	mu        sync.Mutex
	faults    map[string][]json.RawMessage // steps by the switch they belong to
	order     []string
	done      []done
	recording bool
	since     time.Time
	recorded  []json.RawMessage
	playing   context.CancelFunc
}

// done is a step that was carried out, or refused.
type done struct {
	At    int64           `json:"at"`
	Step  json.RawMessage `json:"step"`
	Error string          `json:"error,omitempty"`
}

// operatorNow is how it stands.
type operatorNow struct {
	Faults    map[string][]json.RawMessage `json:"faults"`
	Done      []done                       `json:"done"`
	Recording bool                         `json:"recording"`
	Recorded  int                          `json:"recorded"`
	Playing   bool                         `json:"playing"`
}

func (o *operator) now() operatorNow {
	o.mu.Lock()
	defer o.mu.Unlock()
	faults := map[string][]json.RawMessage{} // {} and not null
	maps.Copy(faults, o.faults)
	return operatorNow{
		Faults: faults, Done: append([]done{}, o.done...), Recording: o.recording,
		Recorded: len(o.recorded), Playing: o.playing != nil,
	}
}

// do carries out steps and tells all pages. It ends with the first that fails.
func (s *Server) do(steps []json.RawMessage) error {
	defer func() { s.watchers.tell("operator", s.operator.now()) }()
	for _, step := range steps {
		step, err := normal(step)
		if err != nil {
			return err
		}
		err = s.sim.Do(step)
		s.operator.log(step, err)
		if err != nil {
			return err
		}
	}
	return nil
}

// normal is a step in one line, without its time: it is done now.
func normal(step json.RawMessage) (json.RawMessage, error) {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(step, &members); err != nil || members == nil {
		return nil, errors.New("a step is a JSON object, as in a file of faults")
	}
	delete(members, "at")
	return json.Marshal(members)
}

// log notes what was done, and records it if it worked.
func (o *operator) log(step json.RawMessage, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	d := done{At: time.Now().UnixMilli(), Step: step}
	if err != nil {
		d.Error = err.Error()
	}
	if len(o.done) >= maxDone {
		o.done = slices.Delete(o.done, 0, 1)
	}
	o.done = append(o.done, d)
	if o.recording && err == nil && len(o.recorded) < maxRecorded {
		at := simnet.Duration(time.Since(o.since).Round(100 * time.Millisecond))
		timed := fmt.Appendf(nil, `{"at": %q, `, at)
		o.recorded = append(o.recorded, append(timed, bytes.TrimPrefix(step, []byte("{"))...))
	}
}

// setFault switches a fault on, with these steps, or off.
func (s *Server) setFault(key string, on bool, steps []json.RawMessage) error {
	o := &s.operator
	o.turn.Lock()
	defer o.turn.Unlock()
	o.mu.Lock()
	old, was := o.faults[key]
	full := len(o.faults) >= maxFaults
	o.mu.Unlock()
	if on && full && !was {
		return errors.New("too many faults are on: take one back")
	}
	if was {
		o.remember(key, nil)
		if err := s.do(o.undo(old)); err != nil {
			return err
		}
	}
	if !on {
		return nil
	}
	if len(steps) == 0 {
		return errors.New("steps: a fault needs one")
	}
	o.remember(key, steps)
	if err := s.do(o.merged(steps)); err != nil {
		o.remember(key, nil)
		return errors.Join(err, s.do(o.undo(steps)))
	}
	return nil
}

func (o *operator) remember(key string, steps []json.RawMessage) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if steps == nil {
		delete(o.faults, key)
		o.order = slices.DeleteFunc(o.order, func(k string) bool { return k == key })
		return
	}
	if o.faults == nil {
		o.faults = map[string][]json.RawMessage{}
	}
	o.faults[key] = steps
	o.order = append(o.order, key)
}

func encode(name string, value any) json.RawMessage {
	text, err := json.Marshal(map[string]any{name: value})
	if err != nil {
		return nil
	}
	return text
}

// record begins a recording anew, or ends it. What is recorded stays until the next one begins.
func (s *Server) record(on bool) {
	o := &s.operator
	o.mu.Lock()
	if on {
		o.since, o.recorded = time.Now(), nil
	}
	o.recording = on
	o.mu.Unlock()
	s.watchers.tell("operator", o.now())
}

// scenario is the recording as a file.
func (o *operator) scenario() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.recorded) == 0 {
		return []byte("{\n  \"steps\": []\n}\n")
	}
	lines := make([]string, len(o.recorded))
	for i, step := range o.recorded {
		lines[i] = "    " + string(step)
	}
	return []byte("{\n  \"steps\": [\n" + strings.Join(lines, ",\n") + "\n  ]\n}\n")
}

// play plays a scenario in the background, in place of the one that plays.
func (s *Server) play(scenario json.RawMessage) error {
	run, err := s.sim.Load(scenario)
	if err != nil {
		return err
	}
	s.stop()
	ctx, cancel := context.WithCancel(s.ctx)
	o := &s.operator
	o.mu.Lock()
	o.playing = cancel
	o.mu.Unlock()
	s.watchers.tell("operator", o.now())
	s.tasks.Go(func() {
		run(ctx)
		if ctx.Err() == nil { // it came to its end
			o.mu.Lock()
			o.playing = nil
			o.mu.Unlock()
			s.watchers.tell("operator", o.now())
		}
		cancel()
	})
	return nil
}

// stop ends the scenario that plays. What it has done stays done.
func (s *Server) stop() {
	o := &s.operator
	o.mu.Lock()
	if o.playing != nil {
		o.playing()
		o.playing = nil
	}
	o.mu.Unlock()
	s.watchers.tell("operator", o.now())
}
