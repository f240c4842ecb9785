// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/internal/mqttserver"
)

const (
	twinResponseFilter = "$iothub/twin/res/#"
	desiredFilter      = "$iothub/twin/PATCH/properties/desired/#"
	methodFilter       = "$iothub/methods/POST/#"
)

// reply is how a hub answers a device.
type reply struct {
	status  int
	code    int    // of a refusal; 0: none
	message string // of a refusal
	version int64  // of reported properties
	body    []byte // of what was asked for
}

func declined(code int, message string) reply {
	return reply{status: code / 1000, code: code, message: message}
}

// serveTwin takes a twin operation and answers it. An error ends the connection.
func (l *link) serveTwin(ctx context.Context, to address, body []byte, ack func() error) error {
	rid, ok := requestID(to.bag)
	if !ok {
		return nil // there is no way to answer
	}
	stage := TwinGet
	if to.route == twinReport {
		stage = TwinPatch
	}
	f, struck := l.hub.strike(stage, l.id)
	if !struck {
		return l.perform(ctx, stage, to, body, rid, ack)
	}
	faulty := func(ctx context.Context) error {
		if f.performs() {
			_ = l.performTwin(to, body)
		}
		if err := l.applyFault(ctx, f); err != nil || f.NoAnswer || f.Stall {
			return err
		}
		if f.Status == 0 {
			return l.perform(ctx, stage, to, body, rid, ack)
		}
		o := reply{
			status: f.Status, code: cmp.Or(f.Code, f.Status*1000),
			message: cmp.Or(f.Message, http.StatusText(f.Status)),
		}
		return l.respond(stage, rid, o, ack)
	}
	if f.Delay > 0 {
		l.session.Go(faulty) // pings and other messages are served meanwhile
		return nil
	}
	return faulty(ctx)
}

// perform does what a twin operation asks for, when its rate allows, and answers.
func (l *link) perform(
	ctx context.Context, stage Stage, to address, body []byte, rid string, ack func() error,
) error {
	o := declined(codeThrottled, "the request has been throttled")
	switch code, err := l.hub.shape(ctx, stage); {
	case err != nil:
		return err
	case code == 0:
		o = l.performTwin(to, body)
	}
	return l.respond(stage, rid, o, ack)
}

// respond acknowledges the request of a twin operation, and answers it.
func (l *link) respond(stage Stage, rid string, o reply, ack func() error) error {
	if err := ack(); err != nil {
		return err
	}
	l.hub.logOperation(Operation{
		On: stage, DeviceID: l.id, Transport: l.transport, Status: o.status, Code: o.code,
	})
	l.sendTwinResponse(rid, o, l.hub.network.Now())
	return nil
}

// performTwin answers a device's twin operation.
func (l *link) performTwin(to address, body []byte) reply {
	h := l.hub
	if to.route == twinReport {
		patch, err := decodeDocument(body)
		if err != nil {
			return declined(codeArgumentInvalid, err.Error())
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		r, ok := h.devices[l.id]
		if !ok {
			return declined(codeDeviceNotFound, "no such device")
		}
		version, ok := r.report(patch)
		if !ok {
			return declined(h.oversizeCode, "reported properties of more than 32 KB")
		}
		h.recordTwin(l.id, "reported", version, patch, false)
		return reply{status: http.StatusNoContent, version: version}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[l.id]
	if !ok {
		return declined(codeDeviceNotFound, "no such device")
	}
	whole, _ := json.Marshal(document{ // decoded from JSON: cannot fail
		"desired":  versioned(r.twin.Desired, r.twin.DesiredVersion),
		"reported": versioned(r.twin.Reported, r.twin.ReportedVersion),
	})
	return reply{status: http.StatusOK, body: whole}
}

// SetOversizeStatus sets how the hub answers a patch that makes the reported properties larger than
// 32 KB: 413 or 400, the default. The service's documentation lists 400 alone; clients know both.
func (h *Hub) SetOversizeStatus(status int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.oversizeCode = codeArgumentInvalid
	if status == http.StatusRequestEntityTooLarge {
		h.oversizeCode = codeTooLarge
	}
}

// sendTwinResponse sends the response to a twin operation, if the device listens for it; otherwise
// it is lost.
func (l *link) sendTwinResponse(rid string, o reply, now time.Time) {
	topic := "$iothub/twin/res/" + strconv.Itoa(o.status) + "/?$rid=" + rid
	if o.version != 0 {
		topic += "&$version=" + strconv.FormatInt(o.version, 10)
	}
	body := o.body
	if o.status >= 300 {
		body = errorBody(o.code, o.message, now)
	}
	if l.subscribed(twinResponseFilter) {
		l.post(outgoing{message: mqttserver.Message{Topic: topic, Payload: body}})
	}
}

// notify tells the device of changed desired properties, if it listens; h.mu is held, so the order
// is that of the versions.
func (l *link) notify(patch document, version int64) {
	if !l.subscribed(desiredFilter) {
		return
	}
	v := strconv.FormatInt(version, 10)
	body, _ := json.Marshal(versioned(patch, version)) // decoded from JSON: cannot fail
	l.post(outgoing{stage: Desired, message: mqttserver.Message{
		Topic: "$iothub/twin/PATCH/properties/desired/?$version=" + v, Payload: body,
	}})
}

// versioned is a part of a twin as devices see it.
func versioned(part document, version int64) document {
	out := make(document, len(part)+1)
	for k, v := range part {
		out[k] = v
	}
	out["$version"] = version
	return out
}

// requestID finds the $rid in what follows a topic's question mark. It is opaque, and echoed as it
// is.
func requestID(bag string) (string, bool) {
	for pair := range strings.SplitSeq(bag, "&") {
		if rid, ok := strings.CutPrefix(pair, "$rid="); ok && rid != "" {
			return rid, true
		}
	}
	return "", false
}

// errorBody is the body of a twin operation's refusal.
func errorBody(code int, message string, now time.Time) []byte {
	now = now.UTC()
	body, _ := json.Marshal(struct { // strings and a number: cannot fail
		ErrorCode    int    `json:"errorCode"`
		TrackingID   string `json:"trackingId"`
		Message      string `json:"message"`
		TimestampUTC string `json:"timestampUtc"`
	}{
		code, trackingID() + "-G:3-TimeStamp:" + now.Format("01/02/2006 15:04:05"), message,
		now.Format("2006-01-02T15:04:05.0000000Z"),
	})
	return body
}
