// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
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
	// forwardBytes is how much of bodies one request has: in base64 it fits NATS's limit of 1 MiB.
	forwardBytes = 512 << 10
	// forwardedAtOnce is how many requests of others are under way at once.
	forwardedAtOnce = 1024
)

// subject is where a replica takes parcels. Names of replicas may have dots and more.
func subject(replica string) string {
	return "rehome-gateway.messages." + base64.RawURLEncoding.EncodeToString([]byte(replica))
}

// forward gives messages to another replica. The error is a *intake.Refusal, or the cause of ctx.
func (r *replicas) forward(
	ctx context.Context, to, device string, lane intake.Lane, messages []hubconn.Message,
) error {
	for i := range messages {
		if messages[i].MessageID == "" { // what is sent again, as nobody has answered, can be told
			messages[i].MessageID = rand.Text()
		}
	}
	for len(messages) > 0 {
		n, size := 0, 0
		for n < len(messages) && (n == 0 || size+len(messages[n].Body) <= forwardBytes) {
			size += len(messages[n].Body)
			n++
		}
		p := intake.Parcel{Device: device, Lane: lane, Messages: messages[:n]}
		if err := r.forwardOne(ctx, to, p); err != nil {
			return err
		}
		messages = messages[n:]
	}
	return nil
}

func (r *replicas) forwardOne(ctx context.Context, to string, p intake.Parcel) error {
	data, err := json.Marshal(p)
	if err != nil {
		return &intake.Refusal{Status: http.StatusBadRequest, Text: err.Error()}
	}
	waiting, cancel := context.WithTimeout(ctx, r.patience)
	defer cancel()
	reply, err := r.conn.RequestWithContext(waiting, subject(to), data)
	var said intake.Receipt
	if err == nil {
		err = json.Unmarshal(reply.Data, &said)
	}
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil:
		return &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: later,
			Text: fmt.Sprintf("replica %s, which runs the device, does not answer: send it again",
				to),
		}
	}
	return said.Err()
}

// takeForwarded takes parcels of the others, until end is called.
func (g *gateway) takeForwarded(r *replicas) (end func() error, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	places := make(chan struct{}, forwardedAtOnce)
	var taking sync.WaitGroup
	var mu sync.Mutex // nobody is added while they are waited for
	subscription, err := r.conn.Subscribe(subject(r.Name()), func(m *nats.Msg) {
		select {
		case places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		taking.Go(func() {
			defer func() { <-places }()
			said := intake.NewReceipt(g.takeParcel(ctx, r, m.Data))
			if data, err := json.Marshal(said); err == nil {
				_ = m.Respond(data)
			}
		})
	})
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
	if err == nil && (holder != "" || g.roll.find(p.Device) == nil) {
		err = &intake.Refusal{
			Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
			Text: fmt.Sprintf("replica %s does not run the device: send it again", r.Name()),
		}
	}
	if err != nil {
		return err
	}
	return g.keepHere(ctx, p.Device, p.Lane, p.Messages)
}
