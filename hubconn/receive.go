// SPDX-License-Identifier: Apache-2.0

package hubconn

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/rehome-iot/rehome/internal/https"
	"github.com/rehome-iot/rehome/internal/oneline"
)

// Delivery is a cloud-to-device message received over HTTPS. The hub keeps it locked for a minute:
// within that time it is for the device to complete, abandon or reject it. A lock that has run out
// is an *Error of class Caller with status 412 (or 404), and the message comes again.
type Delivery struct {
	Message
	conclude func(ctx context.Context, op string) error
}

// Complete removes the message from the queue: it was handled.
func (d *Delivery) Complete(ctx context.Context) error { return d.conclude(ctx, "complete") }

// Abandon puts the message back: it is delivered again at once, up to the number of times that the
// hub's setting allows (maximum delivery count).
func (d *Delivery) Abandon(ctx context.Context) error { return d.conclude(ctx, "abandon") }

// Reject removes the message from the queue; a sender that requested feedback learns that it was
// not handled.
func (d *Delivery) Reject(ctx context.Context) error { return d.conclude(ctx, "reject") }

// Receive requests one cloud-to-device message over HTTPS, without a connection that stays; nil,
// nil when there is none, which the hub says with 204. It makes one attempt, as Post does; a
// response without the hub's own headers is no message, but an error of class Unreachable. The
// service advises not to poll more often than every 25 minutes (Azure docs: "Choose a communication
// protocol"). Modules receive nothing over HTTPS.
func (d *Dialer) Receive(ctx context.Context, hub Hub, credential Credential) (*Delivery, error) {
	fault := func(err error) error {
		return &Error{Op: "receive", Hub: hub, Class: Caller, Err: err}
	}
	if err := d.validate(hub, credential); err != nil {
		return nil, fault(err)
	}
	if hub.ModuleID != "" {
		return nil, fault(errors.New("modules receive no messages over HTTPS"))
	}
	r, err := d.call(ctx, hub, credential, apiRequest{
		op: "receive", method: http.MethodGet, path: "/messages/deviceBound", answered: true,
	})
	switch {
	case err != nil:
		return nil, err
	case r.Status == http.StatusNoContent:
		return nil, nil
	case !describesMessage(r):
		return nil, foreignError("receive", hub, r.Status, "the hub")
	}
	m := messageOf(r)
	if m.LockToken == "" {
		return nil, &Error{
			Op: "receive", Hub: hub, Class: Server, Status: r.Status, Code: r.Status * 1000,
			Err: errors.New("the answer has no ETag"),
		}
	}
	lock := "/messages/deviceBound/" + escape(m.LockToken)
	return &Delivery{Message: m, conclude: func(ctx context.Context, op string) error {
		r := apiRequest{op: op, method: http.MethodDelete, path: lock, lock: true}
		switch op {
		case "complete":
			r.header = http.Header{"If-Match": {m.LockToken}}
		case "reject":
			r.query = "reject"
		case "abandon":
			r.method, r.path = http.MethodPost, lock+"/abandon"
		}
		if _, err := d.call(ctx, hub, credential, r); err != nil {
			return err
		}
		return nil
	}}, nil
}

// describesMessage reports whether a response has any of the hub's own headers about a message: its
// sequence number, its properties. A web page has none; an ETag it may well have.
func describesMessage(r https.Response) bool {
	for name := range r.Header {
		if strings.HasPrefix(strings.ToLower(name), "iothub-") {
			return true
		}
	}
	return false
}

// messageOf reads a message as HTTPS delivers it.
func messageOf(r https.Response) Message {
	header := func(name string) string { return oneline.ASCII(r.Header.Get(name), 64<<10) }
	m := Message{
		Body:            r.Body,
		MessageID:       header("iothub-messageid"),
		CorrelationID:   header("iothub-correlationid"),
		UserID:          header("iothub-userid"),
		To:              header("iothub-to"),
		Ack:             header("iothub-ack"),
		ContentType:     header("iothub-contenttype"),
		ContentEncoding: header("iothub-contentencoding"),
		Expiry:          parseTime(header("iothub-expiry")),
		EnqueuedTime:    parseTime(header("iothub-enqueuedtime")),
		CreationTime:    parseTime(header("iothub-creationtimeutc")),
		LockToken:       strings.Trim(strings.TrimPrefix(header("ETag"), "W/"), `"`),
	}
	m.SequenceNumber, _ = strconv.ParseUint(header("iothub-sequencenumber"), 10, 64)
	m.DeliveryCount, _ = strconv.Atoi(header("iothub-deliverycount"))
	for name, values := range r.Header {
		// Names of headers have no case; the hub's own writes them in lower case.
		if property, ok := strings.CutPrefix(strings.ToLower(name), "iothub-app-"); ok &&
			property != "" && len(values) > 0 {
			m.setProperty(property, values[0])
		}
	}
	return m
}

// leftOut is told of a message that was too long to take: longer than any that the hub lets anybody
// send, so that there is no loop over Messages to tell.
func (c *Conn) leftOut(bytes int) {
	c.log(slog.LevelWarn, "message too long: left out",
		slog.Int("bytes", bytes))
}
