// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"cmp"
	"net/http"
	"strconv"
	"time"
)

// deliverCommand gives a device the next message of its queue, under a lock.
func (h *Hub) deliverCommand(r *http.Request, id string) webReply {
	lock := defaultLock
	if text := cmp.Or(
		r.URL.Query().Get("iothub-messagelocktimeout"), r.Header.Get("IotHub-MessageLockTimeout"),
	); text != "" {
		seconds, err := strconv.Atoi(text)
		lock = time.Duration(seconds) * time.Second
		if err != nil || lock < minLock || lock > maxLock {
			return webRefusal(codeArgumentInvalid, "lock timeout is not 5 to 300 seconds")
		}
	}
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	rec := h.devices[id]
	if rec == nil {
		return webRefusal(codeDeviceNotFound, id)
	}
	c := h.lockNext(rec, func(*queuedC2D) bool { return true }, nil, now.Add(lock), now)
	if c == nil {
		return webReply{reply: reply{status: http.StatusNoContent}}
	}
	h.links[id].wake() // it will want to know when the lock ends
	header := http.Header{
		"ETag": {`"` + c.token + `"`}, "Content-Type": {"application/octet-stream"},
	}
	for name, value := range map[string]string{
		"iothub-messageid": c.MessageID, "iothub-correlationid": c.CorrelationID,
		"iothub-userid": c.UserID, "iothub-to": c.To, "iothub-ack": cmp.Or(c.Ack, "none"),
		"iothub-expiry": webTime(c.Expiry), "iothub-enqueuedtime": webTime(c.EnqueuedTime),
		"iothub-sequencenumber": strconv.FormatUint(c.SequenceNumber, 10),
		// the service counts the deliveries before this one
		"iothub-deliverycount": strconv.Itoa(c.DeliveryCount - 1),
	} {
		header[name] = []string{value}
	}
	for name, value := range map[string]string{
		"iothub-contenttype": c.ContentType, "iothub-contentencoding": c.ContentEncoding,
	} {
		if value != "" {
			header[name] = []string{value}
		}
	}
	for name, value := range c.Properties {
		header[appPrefix+name] = []string{value}
	}
	return webReply{reply: reply{status: http.StatusOK, body: c.Body}, header: header}
}

// settleCommand completes, rejects or abandons a message, if its lock still holds.
func (h *Hub) settleCommand(e endpoint) webReply {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.devices[e.id]
	if r == nil {
		return webRefusal(codeDeviceNotFound, e.id)
	}
	h.sweep(r, now)
	var c *queuedC2D
	for _, queued := range r.queue {
		if queued.Locked && queued.holder == nil && queued.token == e.token {
			c = queued
		}
	}
	if c == nil {
		lost := webRefusal(codeLockLost, "The device message lock was lost")
		lost.named = true
		return lost
	}
	switch e.action {
	case completeCommand:
		h.finish(r, c, OutcomeSuccess, now)
	case rejectCommand:
		h.finish(r, c, OutcomeRejected, now)
	default:
		h.release(r, c, now)
		h.links[e.id].wake()
	}
	return webReply{reply: reply{status: http.StatusNoContent}}
}

// webTime writes a time as the service's headers do.
func webTime(t time.Time) string { return t.UTC().Format("1/2/2006 3:04:05 PM") }
