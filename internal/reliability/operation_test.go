// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"context"
	"time"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// peer is whom an operation speaks to.
type peer int

const (
	toDPS peer = iota
	toHub
	toStorage
)

// operation is something that a client does over the network, and may go wrong.
type operation struct {
	name string
	peer peer
	at   place
	// enrolled changes how the device is known to the services; nil: by its key.
	enrolled func(*world, *dpstest.IndividualEnrollment)
	// ready makes what the operation needs, over a way that is good; nil: nothing.
	ready func(*world) error
	run   func(context.Context, *world) error
	// refuse makes the simulator refuse it; nil: it is done below the simulator, or not at all.
	refuse func(*world)
	// bound is what the documentation promises: how long the operation may take from the fault on.
	bound time.Duration
	// cancelled is how long it may take once its ctx has ended, besides 100 ms.
	cancelled time.Duration
	// slowly is the bound for a peer that sends one byte a second, where that is another.
	slowly time.Duration
	// rough is what a time is told as that is up to it, and is another each time.
	rough time.Duration
	// lasts is how long the hub goes on with what it has not heard the end of.
	lasts time.Duration
	// device is how a Device does the same.
	device life

	dps     dps.Transport
	hub     hubconn.Transport
	version string // of the hub's API; empty: the usual one

	cells [faultEnd]*cell // nil: pointless
}

// most is how long the operation may take from a fault on.
func (o *operation) most(f fault) time.Duration {
	if f == trickle && o.slowly > 0 {
		return o.slowly
	}
	return o.bound
}

// pointless are the faults that an operation cannot meet, each for the reason that the page's
// legend tells.
func (o *operation) pointless(f fault) bool {
	switch {
	case o.at.layer == atDial:
		return f != refused && f != reset && f != stalled
	case o.at.layer == atRest:
		return f == refused || f == portal
	case f == refused && o.at.layer == atRequest:
		return o.refuse == nil
	case f == portal && o.at.layer == atRequest:
		return o.name != "CONNECT" && !overHTTP(o.at)
	}
	return false
}

// overHTTP says that a place is a request of HTTP. MQTT begins with CONNECT, and whoever has
// answered that is no portal any more.
func overHTTP(at place) bool {
	switch at.wanted[0] {
	case "GET ", "PUT ", "POST ", "HEAD ", "DELETE ":
		return true
	}
	return false
}

// group is the operations of one client, and a table of the page.
type group struct {
	title      string
	operations []*operation
}

func groups() []group {
	return []group{
		{"DPS over HTTPS", overHTTPS()},
		{"DPS over MQTT", registerOverMQTT(dps.MQTT)},
		{"DPS over MQTT on WebSocket", registerOverMQTT(dps.MQTTWebSocket)},
		{"Hub over MQTT", connection(hubconn.MQTT)},
		{"Hub over MQTT on WebSocket", connection(hubconn.MQTTWebSocket)},
		{"Hub over HTTPS", requests()},
		{"File upload", uploads()},
	}
}

// opening is what comes before the first request of any client.
func opening(o operation) (all []*operation) {
	o.bound = 30 * time.Second
	for _, at := range []struct {
		name string
		place
	}{{"DNS", names}, {"dial", dialing}, {"TLS", handshake}} {
		step := o
		step.name, step.at = at.name, at.place
		if at.layer == atNames {
			step.rough = o.bound // a resolver's patience is the machine's setting
		}
		all = append(all, &step)
	}
	return all
}

// with are operations that begin as another one does.
func with(o operation, others ...operation) []*operation {
	all := opening(o)
	for _, step := range others {
		step.peer, step.dps, step.hub = o.peer, o.dps, o.hub
		if step.run == nil {
			step.run = o.run
		}
		if step.ready == nil {
			step.ready = o.ready
		}
		if step.device == nil {
			step.device = o.device
		}
		all = append(all, &step)
	}
	return all
}
