// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/examples/internal/settings"
	"github.com/rehome-iot/rehome/examples/internal/stored"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning"
)

func (p *program) watchOptions() []settings.Option {
	return []settings.Option{{Name: "answer", Value: "ok|echo", FlagOnly: true,
		Assign: settings.OneOf(&p.answer, "is not an answer: use ok or echo", "ok", "echo"),
		Usage: "how direct methods are answered, always with status 200: with {}, or with what " +
			"they were called with (default ok)"}}
}

// event is something that comes.
type event struct {
	Event      string            `json:"event"`
	Time       string            `json:"time"`
	Hub        string            `json:"hub,omitempty"`
	Source     string            `json:"source,omitempty"` // of the assignment
	Cause      string            `json:"cause,omitempty"`
	Next       string            `json:"next,omitempty"` // when the hub or DPS is asked again
	Version    int64             `json:"version,omitempty"`
	Full       bool              `json:"full,omitempty"` // all of the properties, not a change
	Name       string            `json:"name,omitempty"`
	MessageID  string            `json:"messageId,omitempty"`
	Properties map[string]string `json:"properties,omitempty"`
	Payload    payload           `json:"payload,omitempty"`
}

// watcher prints what comes, over as many connections as there are.
type watcher struct {
	*program
	mu sync.Mutex
}

// watch stays connected and prints what comes from the hub, until it is asked to end.
func watch(ctx context.Context, p *program) error {
	dev, err := p.device()
	if err != nil {
		return err
	}
	w := &watcher{program: p}
	trace := &provisioning.Trace{Changed: w.changed}
	if module := p.NewModule(dev); module != nil {
		module.Trace = trace
		err = module.Run(ctx, w.session)
	} else {
		dev.Trace = trace
		err = dev.Run(ctx, w.session)
	}
	if ctx.Err() != nil {
		return nil // Ctrl-C
	}
	return err
}

// changed tells of the connection.
func (w *watcher) changed(now provisioning.Status) {
	switch now.State {
	case provisioning.StateConnected:
		w.tell(event{Event: "connected", Hub: now.Hub.Host, Source: string(now.Source)})
	case provisioning.StateWaiting:
		next := now.NextHub
		if next.IsZero() || !now.NextDPS.IsZero() && now.NextDPS.Before(next) {
			next = now.NextDPS
		}
		w.tell(event{Event: "waiting", Cause: now.Cause, Next: stored.Timestamp(next)})
	}
}

// session prints, each in a goroutine, what comes. It ends when the connection does.
func (w *watcher) session(ctx context.Context, hub *hubconn.Conn) error {
	var running sync.WaitGroup
	for what, part := range map[string]func(context.Context, *hubconn.Conn) error{
		"desired properties": w.desired, "direct methods": w.methods, "messages": w.messages,
	} {
		running.Go(func() {
			if err := part(ctx, hub); err != nil && hub.Context().Err() == nil && ctx.Err() == nil {
				w.tell(event{Event: "not received", Name: what, Cause: err.Error()})
			}
			<-ctx.Done()
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

func (w *watcher) desired(ctx context.Context, hub *hubconn.Conn) error {
	for d, err := range hub.Desired(ctx) {
		if err != nil {
			return err
		}
		w.tell(event{Event: "desired", Version: d.Version, Full: d.Full, Payload: payload(d.JSON)})
	}
	return nil
}

func (w *watcher) methods(ctx context.Context, hub *hubconn.Conn) error {
	return hub.HandleMethods(ctx, hubconn.Methods{Default: func(
		_ context.Context, r hubconn.MethodRequest,
	) (int, any, error) {
		w.tell(event{Event: "method", Name: r.Name, Payload: payload(r.Payload)})
		if w.answer == "echo" && len(r.Payload) > 0 {
			return 200, json.RawMessage(r.Payload), nil
		}
		return 200, struct{}{}, nil
	}})
}

// messages takes each message out of the device's queue when it is printed.
func (w *watcher) messages(ctx context.Context, hub *hubconn.Conn) error {
	for m, err := range hub.Messages(ctx) {
		if err != nil {
			return err
		}
		w.tell(event{
			Event: "message", MessageID: m.MessageID, Properties: m.Properties,
			Payload: payload(m.Body),
		})
	}
	return nil
}

func (w *watcher) tell(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e.Time = stored.Timestamp(time.Now())
	_ = w.print(e, e.line())
}

// line is an event as text.
func (e event) line() string {
	said := []string{e.Time, fmt.Sprintf("%-9s", e.Event)}
	add := func(name, value string) {
		if value != "" {
			said = append(said, name+shown([]byte(value)))
		}
	}
	add("", e.Hub)
	add("from ", e.Source)
	add("", e.Name)
	if e.Version > 0 {
		said = append(said, fmt.Sprintf("version %d", e.Version))
	}
	add("id ", e.MessageID)
	for _, name := range slices.Sorted(maps.Keys(e.Properties)) {
		add("", name+"="+e.Properties[name])
	}
	add("", string(e.Payload))
	add("", e.Cause)
	add("next ", e.Next)
	return strings.Join(said, "  ")
}
