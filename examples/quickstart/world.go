// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const registrationID = "sensor-042"

var deviceKey = base64.StdEncoding.EncodeToString([]byte("a device's key of thirty-two by."))

// world is where the play takes place.
type world struct {
	*stage.World
	a, b, c *hubtest.Hub
}

// newWorld builds the services. DPS answers as the real one: "assigning, ask again in 3 s", and
// then the hub. It can be on loopback sockets, or in memory for the test.
func newWorld(n *simnet.Network, store cache.Store) (*world, error) {
	w := &world{
		a: hubtest.NewHub(n, hubA), b: hubtest.NewHub(n, hubB),
		c: hubtest.NewHub(n, hubC),
	}
	w.World = &stage.World{
		Network: n, DPS: dpstest.New(n, dpstest.Config{RetryAfter: stage.Patience}),
		Hubs: []*hubtest.Hub{w.a, w.b, w.c}, Store: store, Device: w.device,
	}
	w.DPS.Link(w.Hubs...)
	return w, w.DPS.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: registrationID, Attestation: dpstest.Keys(deviceKey, ""),
		AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{w.a.Host()},
	})
}

func build(n *simnet.Network, store cache.Store) (*stage.World, []stage.Step, error) {
	w, err := newWorld(n, store)
	if err != nil {
		return nil, nil, err
	}
	return w.World, w.steps(), nil
}

// device is the firmware: what a program sets to live in this world, and would set to live on
// Azure.
func (w *world) device() *provisioning.Device {
	return w.Connect(&provisioning.Device{
		IDScope:     w.DPS.IDScope(),
		Attestation: dps.SymmetricKey{ID: registrationID, Key: deviceKey},
		Store:       w.Store,
	})
}

func overWebSocket(d *provisioning.Device) { d.Hub.Transport = hubconn.MQTTWebSocket }
