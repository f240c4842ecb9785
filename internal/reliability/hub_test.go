// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"errors"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func atHub(f hubtest.Fault) func(*world) {
	f.Times = -1
	return func(w *world) { w.hub.Inject(f) }
}

func dialHub(ctx context.Context, w *world) error { return w.dial(ctx) }

func ready(w *world) error { return w.connected() }

func connection(transport hubconn.Transport) []*operation {
	const (
		// Dialer.KeepAlive: a ping when the acknowledgement of a message is 30 s late, and 10 s for
		// a sign of life, with a little for the bytes of the message.
		message = 41 * time.Second
		limit   = 4 * time.Minute // Dialer.AckTimeout, and a KeepAlive without anything else
	)
	o := operation{peer: toHub, hub: transport, run: dialHub, device: stays}
	twin := func(ctx context.Context, w *world) error {
		_, err := w.conn.Twin(ctx)
		return err
	}
	steps := []operation{
		{
			name: "CONNECT", at: request("CONNECT"), bound: 75 * time.Second,
			refuse: atHub(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3}),
		},
		{
			name: "SUBSCRIBE", at: request("SUBSCRIBE $iothub/twin/res/"), ready: ready, run: twin,
			bound:  limit,
			refuse: atHub(hubtest.Fault{On: hubtest.Subscribe, SubackFailure: true}),
		},
		{
			name: "twin", at: request("PUBLISH $iothub/twin/GET/"), ready: ready, run: twin,
			bound:  30 * time.Second, // Conn.Twin
			refuse: atHub(hubtest.Fault{On: hubtest.TwinGet, Status: 503}),
		},
		{
			name: "PUBLISH", at: request("PUBLISH devices/"), ready: ready,
			bound: message,
			run: func(ctx context.Context, w *world) error {
				return w.conn.Send(ctx, hubconn.Message{Body: []byte("21.5")})
			},
		},
		{
			name: "certificate", at: request("PUBLISH $iothub/credentials/"), ready: ready,
			enrolled: byPolicy, version: hubconn.CredentialsAPIVersion,
			bound:  2*time.Minute + 50*time.Millisecond, // Conn.IssueCertificate, and its goodbye
			refuse: atHub(hubtest.Fault{On: hubtest.IssueStart, Status: 503}),
			run: func(ctx context.Context, w *world) error {
				return askForCertificate(ctx, w, w.conn)
			},
			device: renews,
		},
		{name: "idle", at: rest, ready: ready, run: waits, bound: limit},
	}
	if transport == hubconn.MQTTWebSocket {
		steps = append([]operation{{
			name: "upgrade", at: request("GET ", "/$iothub/websocket"), bound: 30 * time.Second,
			refuse: atHub(hubtest.Fault{On: hubtest.Upgrade, Status: 503}),
		}}, steps...)
	}
	return with(o, steps...)
}

// waits serves direct methods that nobody calls, until the connection ends, or for as long as the
// keep-alive takes twice.
func waits(ctx context.Context, w *world) error {
	ctx, stop := context.WithTimeoutCause(ctx, 8*time.Minute, errQuiet)
	defer stop()
	time.AfterFunc(2*time.Second, w.way.strikeAll)
	return w.conn.HandleMethods(ctx, hubconn.Methods{})
}

func requests() []*operation {
	const limit = 105 * time.Second // Dialer.DialTimeout and ConnectTimeout together
	post := func(ctx context.Context, w *world) error {
		w.admit()
		return w.dialer.Post(ctx, w.at(), w.key(), hubconn.Message{Body: []byte("21.5")})
	}
	return with(
		operation{peer: toHub, run: post, device: sends},
		operation{
			name: "send", at: request("POST ", "/messages/events"), bound: limit,
			refuse: atHub(hubtest.Fault{On: hubtest.Send, Status: 503}),
		},
		operation{
			name: "receive", at: request("GET ", "/messages/deviceBound"), bound: limit,
			refuse: atHub(hubtest.Fault{On: hubtest.Receive, Status: 503}),
			run: func(ctx context.Context, w *world) error {
				w.admit()
				_, err := w.dialer.Receive(ctx, w.at(), w.key())
				return err
			},
			device: receives,
		},
		operation{
			name: "complete", at: request("DELETE ", "/messages/deviceBound/"), bound: limit,
			refuse: atHub(hubtest.Fault{On: hubtest.Settle, Status: 503}),
			ready:  received,
			run:    func(ctx context.Context, w *world) error { return w.delivery.Complete(ctx) },
			device: completes,
		},
	)
}

// received has the device receive a message that it has not completed yet.
func received(w *world) (err error) {
	w.admit()
	if err = w.hub.SendC2D(deviceID, hubtest.C2D{Body: []byte("23")}); err != nil {
		return err
	}
	if w.delivery, err = w.dialer.Receive(w.Context(), w.at(), w.key()); w.delivery == nil {
		err = errors.Join(errors.New("the hub has no message"), err)
	}
	return err
}
