// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
)

// Messages for a device that another replica runs go there by NATS, and the sender hears what that
// one says: it has kept them, or not. So those of one device are in one outbox, in one order.

const (
	// forwardTimeout is how long the other replica has, beside the time from a write to the next.
	forwardTimeout = 5 * time.Second
	// forwardBytes is how much of messages, as they are sent, one request has: NATS's own limit is
	// 1 MiB by default. parcelHead is for what stands before them.
	forwardBytes = 768 << 10
	parcelHead   = 4 << 10
	// forwardedBytes is how much of others' requests is under way at once, and how much of them
	// waits for that.
	forwardedBytes = 32 << 20
)

// subject is where a replica takes parcels. Names of replicas may have dots and more.
func (r *replicas) subject(replica string) string {
	return r.group + "-gateway.messages." +
		base64.RawURLEncoding.EncodeToString([]byte(replica))
}

// forward gives messages to another replica. The error is a *intake.Refusal, or the cause of ctx.
func (r *replicas) forward(
	ctx context.Context, to, device string, lane intake.Lane, messages []hubconn.Message,
) error {
	p := parcel{Device: device, Lane: lane}
	size, most := 0, r.parcelBytes()
	for i := range messages {
		if messages[i].MessageID == "" { // what is sent again, as nobody has answered, can be told
			messages[i].MessageID = rand.Text()
		}
		data, err := json.Marshal(messages[i])
		if err != nil {
			return &intake.Refusal{Status: http.StatusBadRequest, Text: err.Error()}
		}
		if len(p.Messages) > 0 && size+len(data) > most {
			if err := r.forwardOne(ctx, to, p); err != nil {
				return err
			}
			p.Messages, size = nil, 0
		}
		p.Messages, size = append(p.Messages, data), size+len(data)+1
	}
	if len(p.Messages) == 0 {
		return nil
	}
	return r.forwardOne(ctx, to, p)
}

// parcel is an intake.Parcel, of which each message is known with the length that it has on its
// way: names and values of properties may take six times their own there.
type parcel struct {
	Device   string            `json:"device"`
	Lane     intake.Lane       `json:"lane"`
	Messages []json.RawMessage `json:"messages"`
}

// parcelBytes is how much of messages one request has at most.
func (r *replicas) parcelBytes() int {
	if limit := int(r.conn.MaxPayload()) - parcelHead; limit > 0 { // it is known once connected
		return min(limit, forwardBytes)
	}
	return forwardBytes
}

func (r *replicas) forwardOne(ctx context.Context, to string, p parcel) error {
	data, err := json.Marshal(p)
	if err != nil {
		return &intake.Refusal{Status: http.StatusBadRequest, Text: err.Error()}
	}
	waiting, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	reply, err := r.conn.RequestWithContext(waiting, r.subject(to), data)
	var said intake.Receipt
	if err == nil {
		err = json.Unmarshal(reply.Data, &said)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, nats.ErrMaxPayload):
		return &intake.Refusal{
			Status: http.StatusRequestEntityTooLarge,
			Text: fmt.Sprintf("the message is larger than NATS carries to replica %s, which runs "+
				"the device: raise max_payload of the servers", to),
		}
	case err != nil:
		return &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: later,
			Text: fmt.Sprintf("replica %s, which runs the device, does not answer (%s): send it "+
				"again", to, line(err)),
		}
	}
	return said.Err()
}

// takeForwarded takes parcels of the others, until end is called.
func (g *gateway) takeForwarded(r *replicas) (end func() error, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	room := newByteBudget(forwardedBytes)
	var taking sync.WaitGroup
	var mu sync.Mutex // nobody is added while they are waited for
	subscription, err := r.conn.Subscribe(r.subject(r.Name()), func(m *nats.Msg) {
		if !room.take(ctx, len(m.Data)) {
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		taking.Go(func() {
			defer room.release(len(m.Data))
			said := intake.NewReceipt(g.takeParcel(ctx, r, m.Data))
			if data, err := json.Marshal(said); err == nil {
				_ = m.Respond(data)
			}
		})
	})
	if err == nil {
		err = subscription.SetPendingLimits(nats.DefaultSubPendingMsgsLimit, forwardedBytes)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	return func() error {
		_ = subscription.Unsubscribe() // the connection is closed next
		mu.Lock()
		cancel()
		mu.Unlock()
		taking.Wait()
		return nil
	}, nil
}

// takeParcel keeps what another replica has sent here. It goes no further: where the device runs
// somewhere else by now, the sender tries again.
func (g *gateway) takeParcel(ctx context.Context, r *replicas, data []byte) error {
	p, err := intake.ReadParcel(data)
	if err != nil {
		return err
	}
	holder, err := r.holder(p.Device)
	switch {
	case err != nil:
		return err
	case holder != "":
		return &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Text: fmt.Sprintf("replica %s does not run the device: send it again", r.Name()),
		}
	case g.list.find(p.Device) == nil:
		return &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: later,
			Text: fmt.Sprintf("replica %s, which is to run the device, does not list it: have it "+
				"read the list again", r.Name()),
		}
	}
	return g.keepHere(ctx, p.Device, p.Lane, p.Messages)
}
