package main

import (
	"encoding/base64"
	"net/http"
	"net/url"
	"strings"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const domain = ".azure-devices.net"

const registrationID = "sensor-042"

var deviceKey = base64.StdEncoding.EncodeToString([]byte("a device's key of thirty-two by."))

// world is where the play takes place: the services, and the device's flash memory. It knows
// nothing of what the device does; it can be on loopback sockets, or in memory for the test.
type world struct {
	network *simnet.Network
	dps     *dpstest.Server
	a, b, c *hubtest.Hub
	store   cache.Store
}

// newWorld builds the services. DPS answers as the real one: "assigning, ask again in 3 s", and
// then the hub.
func newWorld(n *simnet.Network, store cache.Store) (*world, error) {
	w := &world{
		network: n, store: store,
		dps: dpstest.New(n, dpstest.Config{RetryAfter: dpsPatience}),
		a:   hubtest.NewHub(n, "hub-a"+domain), b: hubtest.NewHub(n, "hub-b"+domain),
		c: hubtest.NewHub(n, "hub-c"+domain),
	}
	w.dps.Link(w.a, w.b, w.c)
	return w, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: registrationID, Attestation: dpstest.Keys(deviceKey, ""),
		AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{w.a.Host()},
	})
}

// device is the firmware: what a program sets to live in this world, and would set to live on Azure
// without the last three fields.
func (w *world) device() *provisioning.Device {
	return &provisioning.Device{
		IDScope:     w.dps.IDScope(),
		Attestation: dps.SymmetricKey{ID: registrationID, Key: deviceKey},
		Store:       w.store,

		DialContext: w.network.DialContext,
		TLSConfig:   w.network.TLSConfig(),
		// nothing here is beyond a proxy
		Proxy: func(*http.Request) (*url.URL, error) { return nil, nil },
	}
}

func (w *world) hubs() []*hubtest.Hub { return []*hubtest.Hub{w.a, w.b, w.c} }

// messages counts the telemetry that has arrived anywhere, without what was sent twice.
func (w *world) messages() (n int) {
	for _, h := range w.hubs() {
		for _, m := range h.Messages() {
			if !m.Duplicate {
				n++
			}
		}
	}
	return n
}

// forget empties the services' logs, so that a step counts from its beginning.
func (w *world) forget() {
	w.dps.ResetLog()
	for _, h := range w.hubs() {
		h.ResetLog()
	}
}

// short is a hub's name without the domain that all of them share.
func short(host string) string { return strings.TrimSuffix(host, domain) }

func overWebSocket(d *provisioning.Device) { d.Hub.Transport = hubconn.MQTTWebSocket }
