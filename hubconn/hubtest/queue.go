// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/rehome-iot/rehome/internal/uuid"
)

// C2D is a cloud-to-device message.
type C2D struct {
	// Body is the payload. With the names and values of Properties it may have 64 KB.
	Body []byte
	// Properties are the application properties.
	Properties map[string]string
	// MessageID is a system property; "" sends none.
	MessageID string
	// CorrelationID is a system property; "" sends none.
	CorrelationID string
	// UserID is a system property; "" sends none.
	UserID string
	// ContentType is a system property; "" sends none.
	ContentType string
	// ContentEncoding is a system property; "" sends none.
	ContentEncoding string
	// To is a system property. Default: "/devices/{id}/messages/deviceBound".
	To string
	// Expiry is when the message is given up, two days ahead at most. Zero means one hour ahead.
	Expiry time.Time
	// Ack is when the back end wants feedback: "positive", "negative", "full", or "" and "none" for
	// never.
	Ack string
	// Input is the name of the module input the message is for; modules only.
	Input string
}

// Queued is a cloud-to-device message in its queue.
type Queued struct {
	C2D
	// SequenceNumber is the message's number in the device's queue: 1 for the first, and one more
	// for each next.
	SequenceNumber uint64
	// EnqueuedTime is when the message was sent, by the services' clock.
	EnqueuedTime time.Time
	// DeliveryCount is how often the message has been delivered, the present time included. After
	// ten it is dead-lettered.
	DeliveryCount int
	// Locked says that the message has been delivered and not been settled yet.
	Locked bool
}

// Outcome is what became of a cloud-to-device message, in the words of the service's feedback.
type Outcome string

// What a message may come to.
const (
	// OutcomeSuccess is a message that the device completed.
	OutcomeSuccess Outcome = "Success"
	// OutcomeExpired is a message that was not completed before its Expiry.
	OutcomeExpired Outcome = "Expired"
	// OutcomeDeliveryCountExceeded is a message that was delivered ten times in vain.
	OutcomeDeliveryCountExceeded Outcome = "DeliveryCountExceeded"
	// OutcomeRejected is a message that the device rejected.
	OutcomeRejected Outcome = "Rejected"
	// OutcomePurged is a message that the back end, or a clean session of the device, removed.
	OutcomePurged Outcome = "Purged"
)

// Settled is a message that has left its queue.
type Settled struct {
	Queued
	// DeviceID is the queue the message was in: a device, or "device/module".
	DeviceID string
	// Outcome is what became of the message.
	Outcome Outcome
	// Time is when the message left the queue, by the services' clock.
	Time time.Time
}

// The limits of cloud-to-device messages. Azure docs: "Send cloud-to-device messages from an IoT
// hub".
const (
	maxQueue     = 50
	maxC2D       = 64 << 10
	maxDelivery  = 10
	defaultTTL   = time.Hour
	maxTTL       = 48 * time.Hour
	defaultLock  = time.Minute
	minLock      = 5 * time.Second
	maxLock      = 5 * time.Minute
	maxTopicSize = 65535
)

// queuedC2D is a message in a queue.
type queuedC2D struct {
	Queued
	token  string // the lock's; it changes with each delivery
	holder *link  // the connection that has it; nil: an HTTPS client has it, or nobody
	// when an HTTPS client's lock ends; zero over MQTT, where it lasts as long as the connection
	until time.Time
	again bool // it was sent over MQTT before
}

// SendC2D puts a message into a device's queue, from where the device gets it when it listens or
// asks. Errors are an *Error: 403004 when 50 messages wait already, 413001 for one above 64 KB,
// 403009 for an expiry that is past or more than two days ahead, 404001 for an unknown device,
// 400004 for fields that make no sense, 403002 when the hub's daily quota is used up.
func (h *Hub) SendC2D(id string, m C2D) error {
	now := h.network.Now()
	refuse := func(code int, message string) error {
		return &Error{Op: "send c2d to", ID: id, Code: code, Message: message}
	}
	device, module := splitID(id)
	if m.Expiry.IsZero() {
		m.Expiry = now.Add(defaultTTL)
	}
	if m.To == "" {
		m.To = "/devices/" + device + "/messages/deviceBound"
	}
	size := len(m.Body)
	for k, v := range m.Properties {
		size += len(k) + len(v)
	}
	switch {
	case size > maxC2D:
		return refuse(codeTooLarge, fmt.Sprintf("message above %d bytes", maxC2D))
	case len(c2dTopic(id, &m)) > maxTopicSize:
		return refuse(codeTooLarge, "properties do not fit into a topic")
	case !m.Expiry.After(now) || m.Expiry.After(now.Add(maxTTL)):
		return refuse(codeBadExpiry, "expiry is past, or more than two days ahead")
	case !slices.Contains([]string{"", "none", "positive", "negative", "full"}, m.Ack):
		return refuse(codeArgumentInvalid, "ack is none of none, positive, negative and full")
	case m.Input != "" && (module == "" || !isInput(m.Input)):
		return refuse(
			codeArgumentInvalid, "only modules have inputs, and their names have no slash",
		)
	}
	if code := h.spend(units(size)); code != 0 {
		return refuse(code, "daily quota exceeded")
	}
	m.Body, m.Properties = slices.Clone(m.Body), maps.Clone(m.Properties)

	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return unknownIdentity("send c2d to", id)
	}
	h.sweep(r, now)
	if len(r.queue) >= maxQueue {
		return refuse(
			codeQueueFull,
			fmt.Sprintf("total number of messages on device exceeded the maximum number of "+
				"messages allowed per device: %d", maxQueue),
		)
	}
	r.sequence++
	r.queue = append(
		r.queue, &queuedC2D{Queued: Queued{C2D: m, SequenceNumber: r.sequence, EnqueuedTime: now}},
	)
	h.recordC2D(id, &r.queue[len(r.queue)-1].Queued, "")
	h.links[id].wake()
	return nil
}

// C2DQueue returns the messages that wait for a device, or are with it and not settled, oldest
// first.
func (h *Hub) C2DQueue(id string) []Queued {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return nil
	}
	h.sweep(r, now)
	out := make([]Queued, len(r.queue))
	for i, c := range r.queue {
		out[i] = c.copy()
	}
	return out
}

// PurgeC2D empties a device's queue and returns how many messages there were.
func (h *Hub) PurgeC2D(id string) int {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	r, ok := h.devices[id]
	if !ok {
		return 0
	}
	return h.purge(r, now)
}

// SettledC2D returns the messages that have left their queues, in that order: those the device
// completed, and those dead-lettered, for any of the other reasons.
func (h *Hub) SettledC2D() []Settled {
	all, _ := h.SettledC2DFrom(0)
	return all
}

// SettledC2DFrom returns the messages that have left their queues from a position of the log on, as
// AttemptsFrom does.
func (h *Hub) SettledC2DFrom(position int) (settled []Settled, next int) {
	now := h.network.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, r := range h.devices {
		h.sweep(r, now)
	}
	return h.settled.From(position)
}

// Feedback returns the outcomes that the messages' senders asked to be told, by C2D.Ack.
func (h *Hub) Feedback() []Settled {
	return slices.DeleteFunc(h.SettledC2D(), func(s Settled) bool {
		return !s.wantsFeedback(s.Outcome)
	})
}

// wantsFeedback reports whether the sender asked to be told of an outcome.
func (q *Queued) wantsFeedback(o Outcome) bool {
	good := o == OutcomeSuccess
	return q.Ack == "full" || q.Ack == "positive" && good || q.Ack == "negative" && !good
}

func (c *queuedC2D) copy() Queued {
	out := c.Queued
	out.Body, out.Properties = slices.Clone(out.Body), maps.Clone(out.Properties)
	return out
}

// sweep brings a queue up to date: locks end and messages expire by the clock. h.mu is held, as for
// all below.
func (h *Hub) sweep(r *record, now time.Time) {
	for _, c := range slices.Clone(r.queue) {
		if c.Locked && !c.until.IsZero() && !now.Before(c.until) {
			h.release(r, c, now)
		}
		if !c.Locked && !now.Before(c.Expiry) {
			h.finish(r, c, OutcomeExpired, now)
		}
	}
}

// lockNext gives the first message that fits to the device, under a new lock.
func (h *Hub) lockNext(
	r *record, fits func(*queuedC2D) bool, to *link, until, now time.Time,
) *queuedC2D {
	h.sweep(r, now)
	for _, c := range r.queue {
		if !c.Locked && fits(c) {
			c.Locked, c.holder, c.until, c.token = true, to, until, uuid.New()
			c.DeliveryCount++
			return c
		}
	}
	return nil
}

// release gives a message back to its queue, unless it has been delivered too often.
func (h *Hub) release(r *record, c *queuedC2D, now time.Time) {
	if c.DeliveryCount >= maxDelivery {
		h.finish(r, c, OutcomeDeliveryCountExceeded, now)
		return
	}
	c.Locked, c.holder, c.until, c.token = false, nil, time.Time{}, ""
}

// releaseAll returns what went out over MQTT and was not acknowledged to its queue. A nil record
// has none.
func (h *Hub) releaseAll(r *record, now time.Time) {
	if r == nil {
		return
	}
	for _, c := range slices.Clone(r.queue) {
		if c.holder != nil {
			h.release(r, c, now)
		}
	}
}

// finish takes a message out of its queue. It reports false if it was not there any more.
func (h *Hub) finish(r *record, c *queuedC2D, o Outcome, now time.Time) bool {
	at := slices.Index(r.queue, c)
	if at < 0 {
		return false
	}
	r.queue = slices.Delete(r.queue, at, at+1)
	h.settled.Append(Settled{Queued: c.Queued, DeviceID: r.ID, Outcome: o, Time: now})
	h.recordC2D(r.ID, &c.Queued, o)
	return true
}

func (h *Hub) purge(r *record, now time.Time) int {
	h.sweep(r, now)
	n := len(r.queue)
	for _, c := range slices.Clone(r.queue) {
		h.finish(r, c, OutcomePurged, now)
	}
	return n
}

// nextUnlock returns when the next of a queue's locks ends; zero: none will by itself.
func (r *record) nextUnlock() time.Time {
	var next time.Time
	for _, c := range r.queue {
		if c.Locked && !c.until.IsZero() && (next.IsZero() || c.until.Before(next)) {
			next = c.until
		}
	}
	return next
}
