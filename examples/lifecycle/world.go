// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const (
	registrationID = "board-7"

	quarantine = "hub-guest" + stage.Domain
	home       = "hub-home" + stage.Domain
	sold       = "hub-sold" + stage.Domain
)

var onboardingKey = base64.StdEncoding.EncodeToString([]byte("canary-onboarding-key-of-board-7"))

// policy is under which certificates are issued, for 30 days each.
var policy = hubtest.CertificatePolicy{Namespace: "fleet", Authority: "devices", Name: "short"}

// world is where the play takes place, and the operator's records.
type world struct {
	*stage.World
	quarantine, home, sold *hubtest.Hub
	operator               *operator
}

// newWorld builds the services, on loopback sockets or in memory, and enrolls the device: DPS asks
// the operator which hub is to have it, and issues it a certificate.
func newWorld(n *simnet.Network, store cache.Store) (*world, error) {
	w := &world{
		quarantine: hubtest.NewHub(n, quarantine), home: hubtest.NewHub(n, home),
		sold: hubtest.NewHub(n, sold), operator: &operator{hub: home, firmware: digest(image)},
	}
	w.World = &stage.World{
		Network: n, DPS: dpstest.New(n, dpstest.Config{
			RetryAfter: stage.Patience, Allocate: w.operator.allocate,
		}),
		Hubs: []*hubtest.Hub{w.quarantine, w.home, w.sold}, Store: store, Device: w.device,
		Session: session,
	}
	w.DPS.Link(w.Hubs...)
	if err := w.DPS.Issuer().SetPolicy(policy); err != nil {
		return nil, err
	}
	return w, w.enroll("first customer", dpstest.ReprovisionPolicy{
		UpdateHubAssignment: true, MigrateDeviceData: true,
	})
}

func build(n *simnet.Network, store cache.Store) (*stage.World, []stage.Step, error) {
	w, err := newWorld(n, store)
	if err != nil {
		return nil, nil, err
	}
	return w.World, w.steps(), nil
}

// enroll writes the device's enrollment, for a customer.
func (w *world) enroll(customer string, moves dpstest.ReprovisionPolicy) error {
	return w.DPS.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: registrationID, Attestation: dpstest.Keys(onboardingKey, ""),
		AllocationPolicy: dpstest.PolicyCustom, ReprovisionPolicy: &moves,
		InitialTwin:   &dpstest.InitialTwin{Tags: map[string]any{"customer": customer}},
		NamespaceName: policy.Namespace, CertificateAuthorityName: policy.Authority,
		CertificatePolicyName: policy.Name,
	})
}
