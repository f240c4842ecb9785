// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"time"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func register(ctx context.Context, w *world) error {
	_, err := w.client.Register(ctx, dps.Registration{})
	return err
}

// registerAtRest has the fault come while the client waits until it may ask again.
func registerAtRest(ctx context.Context, w *world) error {
	_, err := w.client.Register(ctx, dps.Registration{Pending: func(string, time.Duration) {
		time.AfterFunc(2*time.Second, w.way.strikeAll)
	}})
	return err
}

func atDPS(f dpstest.Fault) func(*world) {
	f.Times = -1
	return func(w *world) { w.service.Inject(f) }
}

func overHTTPS() []*operation {
	const limit = 30 * time.Second // Client.RequestTimeout
	busy := func(on dpstest.Op) func(*world) { return atDPS(dpstest.Fault{On: on, Status: 503}) }
	return with(
		operation{peer: toDPS, dps: dps.HTTPS, run: register, device: stays},
		operation{
			name: "register", at: request("PUT ", "/register?"), refuse: busy(dpstest.Register),
			bound: limit,
		},
		operation{
			name: "challenge", at: request("PUT ", "/register?"), refuse: busy(dpstest.Register),
			bound: limit, enrolled: byTPM,
		},
		operation{
			name: "poll", at: request("GET ", "/operations/"), refuse: busy(dpstest.Poll),
			bound: limit,
		},
		operation{name: "idle", at: rest, run: registerAtRest, bound: between + limit},
		operation{
			name: "lookup", at: request("POST ", "/registrations/"), refuse: busy(dpstest.Lookup),
			bound: limit, ready: func(w *world) error { return register(w.Context(), w) },
			run: func(ctx context.Context, w *world) error {
				_, err := w.client.Lookup(ctx)
				return err
			},
			device: remembersNothing,
		},
		operation{
			name: "time", at: request("HEAD "), refuse: busy(dpstest.Clock), bound: limit,
			run: func(ctx context.Context, w *world) error {
				_, err := w.client.Time(ctx)
				return err
			},
			device: bootsIn1970,
		},
	)
}

func registerOverMQTT(transport dps.Transport) []*operation {
	const limit = time.Minute // Client.RequestTimeout over MQTT
	busy := func(on dpstest.Op) func(*world) { return atDPS(dpstest.Fault{On: on, Status: 503}) }
	o := operation{peer: toDPS, dps: transport, run: register, device: stays}
	steps := []operation{
		{
			name: "CONNECT", at: request("CONNECT"), bound: 75 * time.Second,
			refuse: atDPS(dpstest.Fault{On: dpstest.Connect, ReturnCode: 3}),
		},
		{
			name: "SUBSCRIBE", at: request("SUBSCRIBE "), bound: limit,
			refuse: atDPS(dpstest.Fault{SubackFailure: true}),
		},
		{
			name: "register", at: request("PUBLISH $dps/registrations/PUT"), bound: limit,
			refuse: busy(dpstest.Register),
		},
		{
			name: "poll", at: request("PUBLISH $dps/registrations/GET"), bound: limit,
			refuse: busy(dpstest.Poll),
		},
		{name: "idle", at: rest, run: registerAtRest, bound: between + limit},
	}
	if transport == dps.MQTTWebSocket {
		steps = append([]operation{{
			name: "upgrade", at: request("GET ", "/$iothub/websocket"), bound: 30 * time.Second,
			refuse: atDPS(dpstest.Fault{On: dpstest.Connect, Status: 503}),
		}}, steps...)
	}
	return with(o, steps...)
}
