// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// What happens at a hub is recorded in the log of its network, if that has one; see
// [simnet.Network.RecordEvents]. The logs of this package are for tests in the same process.

// event begins an event of a device, or "device/module".
func (h *Hub) event(kind simnet.EventKind, id string) simnet.Event {
	device, module := splitID(id)
	return simnet.Event{Kind: kind, Hub: h.host, DeviceID: device, ModuleID: module}
}

func (h *Hub) recordMessage(m *Message) {
	e := h.event(simnet.EventTelemetry, m.DeviceID)
	e.ModuleID, e.Transport = m.ModuleID, m.Transport
	e.Message = &simnet.EventMessage{
		Body: m.Body, Properties: m.Properties, System: m.System, Duplicate: m.Duplicate,
	}
	h.network.Record(e)
}

// recordConnected, and recordDisconnected, are called with h.mu held, so that a log has the
// connections of a device in their order.
func (h *Hub) recordConnected(l *link, model string) {
	e := h.event(simnet.EventConnected, l.id)
	e.Transport, e.ModelID = l.transport, model
	h.network.Record(e)
}

// recordDisconnected records the end of a connection, the first time that it is told.
func (h *Hub) recordDisconnected(l *link, reason error) {
	if l.ended {
		return
	}
	l.ended = true
	e := h.event(simnet.EventDisconnected, l.id)
	e.Transport = l.transport
	if reason != nil {
		e.Reason = reason.Error()
	}
	h.network.Record(e)
}

func (h *Hub) recordRefused(a *Attempt) {
	e := h.event(simnet.EventRefused, a.DeviceID)
	e.Transport, e.ReturnCode, e.Status, e.Reason = a.Transport, a.ReturnCode, a.Status, a.Reason
	e.ModelID = a.ModelID
	h.network.Record(e)
}

// recordUnanswered records an attempt that got no response before its connection ended.
func (h *Hub) recordUnanswered(l *link) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !l.attempt.Answered {
		a := l.attempt.Attempt
		a.Reason = "not answered"
		h.recordRefused(&a)
	}
}

func (h *Hub) recordOperation(o *Operation) {
	e := h.event(simnet.EventOperation, o.DeviceID)
	e.Transport, e.Operation, e.Status, e.Code = o.Transport, o.On.String(), o.Status, o.Code
	e.Reason = o.Reason
	h.network.Record(e)
}

// recordTwin records a change of a part of a twin.
func (h *Hub) recordTwin(id, part string, version int64, patch document, replaced bool) {
	if !h.network.Recording() {
		return
	}
	e := h.event(simnet.EventTwin, id)
	text, _ := json.Marshal(patch) // decoded from JSON: cannot fail
	e.Twin = &simnet.EventTwinChange{
		Part: part, Version: version, Patch: text, Replaced: replaced,
	}
	h.network.Record(e)
}

// recordC2D records a message that was queued, or settled with an outcome.
func (h *Hub) recordC2D(id string, q *Queued, o Outcome) {
	e := h.event(simnet.EventC2D, id)
	e.C2D = &simnet.EventC2DMessage{
		SequenceNumber: q.SequenceNumber, MessageID: q.MessageID, CorrelationID: q.CorrelationID,
		Outcome: string(o), DeliveryCount: q.DeliveryCount, Feedback: o != "" && q.wantsFeedback(o),
	}
	h.network.Record(e)
}

func (h *Hub) recordMethod(id, method string, status int, err error) {
	e := h.event(simnet.EventMethod, id)
	e.Operation, e.Status = method, status
	if err != nil {
		e.Reason = err.Error()
	}
	h.network.Record(e)
}

func (h *Hub) recordUpload(u *Upload) {
	kind := simnet.EventUploadStarted
	if !u.Ended.IsZero() {
		kind = simnet.EventUploadEnded
	}
	e := h.event(kind, u.DeviceID)
	e.Upload = &simnet.EventFileUpload{
		BlobName: u.BlobName, CorrelationID: u.CorrelationID, Success: u.Success,
		StatusCode: u.StatusCode, StatusDescription: u.StatusDescription,
	}
	h.network.Record(e)
}

// recordService records an operator's request, once it is answered.
func (h *Hub) recordService(c *restCall, status, code int) {
	id := ""
	if c.path[0] != "statistics" && len(c.path) > 1 && !strings.EqualFold(c.path[1], "query") {
		id = c.id()
	}
	e := h.event(simnet.EventService, id)
	e.Method, e.Path, e.Status, e.Code = c.Method, c.URL.EscapedPath(), status, code
	if status == 0 {
		e.Status = http.StatusOK
	}
	h.network.Record(e)
}

// sweepEvery is how late an event of a message that expires may be: nothing else looks at a queue
// that nobody asks for.
const sweepEvery = time.Second

// SweepC2D settles what expires by itself, messages and locks, every second until the network is
// closed, so that the network's event log tells of it in time. Without it a message expires when
// somebody looks at its queue. It returns at once.
func (h *Hub) SweepC2D() {
	h.network.Go(func(ctx context.Context) {
		for pause(ctx, sweepEvery) == nil {
			now := h.network.Now()
			h.mu.Lock()
			for _, r := range h.devices {
				h.sweep(r, now)
			}
			h.mu.Unlock()
		}
	})
}
