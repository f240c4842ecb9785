// SPDX-License-Identifier: Apache-2.0

// Package stage is what the examples have in common that play a device's life: they start simulated
// services, switch the device on and off, do to it what operators do, and compare what each step
// came to with what it should. It plays on loopback sockets and in real time, or in memory and in
// virtual time for tests.
package stage

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// Domain is that of all hubs.
const Domain = ".azure-devices.net"

// Times that steps are measured by.
const (
	Patience = 3 * time.Second // what DPS asks a device to wait before it polls
	// BackOff is the least wait after a failed attempt at a hub. The first wait is up to twice
	// that, at random.
	BackOff = 5 * time.Second
	Machine = 2 * time.Second // what this machine may take for the rest
)

// World is where a play takes place: the services, and the device's flash memory. It knows nothing
// of what the device does.
type World struct {
	Network *simnet.Network
	DPS     *dpstest.Server
	Hubs    []*hubtest.Hub
	Store   cache.Store

	// Device is the firmware, as it is at each power on.
	Device func() *provisioning.Device

	// Session is what the firmware does on a connection besides sending, if anything. It returns
	// when ctx ends.
	Session func(ctx context.Context, dev *provisioning.Device, hub *hubconn.Conn)

	// late is by how much a busy machine may make a step too late. In virtual time it is zero.
	late time.Duration
}

// Short is a hub's name without the domain that all of them share.
func Short(host string) string { return strings.TrimSuffix(host, Domain) }

// messages counts the telemetry that has arrived anywhere, without what was sent twice.
func (w *World) messages() (n int) {
	for _, h := range w.Hubs {
		for _, m := range h.Messages() {
			if !m.Duplicate {
				n++
			}
		}
	}
	return n
}

// attempts counts the tries to connect to any hub.
func (w *World) attempts() (n int) {
	for _, h := range w.Hubs {
		n += len(h.Attempts())
	}
	return n
}

// forget empties the services' logs, so that a step counts from its beginning.
func (w *World) forget() {
	w.DPS.ResetLog()
	for _, h := range w.Hubs {
		h.ResetLog()
	}
}

// Connect completes a device with what it needs to live in this world, and would not need on Azure.
func (w *World) Connect(dev *provisioning.Device) *provisioning.Device {
	dev.DialContext, dev.TLSConfig = w.Network.DialContext, w.Network.TLSConfig()
	// nothing here is beyond a proxy
	dev.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	return dev
}
