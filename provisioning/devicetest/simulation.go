// SPDX-License-Identifier: Apache-2.0

package devicetest

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The names of what a simulation has.
const (
	// DeviceID is the registration ID of Simulation.Device, and its device ID at the hubs.
	DeviceID = "sensor-042"
	// HubHost is the host name of Simulation.Hub.
	HubHost = "hub-a.azure-devices.net"
	// OtherHubHost is the host name of Simulation.OtherHub.
	OtherHubHost = "hub-b.azure-devices.net"
)

// Simulation is a network in memory with the services that devices need. Its methods are safe for
// concurrent use.
type Simulation struct {
	// Network is what connects them: faults of the way, certificates, the services' clock.
	Network *simnet.Network
	// DPS is the provisioning service, with both hubs linked. A registration takes a second.
	DPS *dpstest.Server
	// Hub is where devices of the simulation are assigned.
	Hub *hubtest.Hub
	// OtherHub is one to move devices to: [dpstest.Server.MoveNow], or Move and Reprovision.
	OtherHub *hubtest.Hub
	// Device is enrolled, and has not registered yet. Set whatever else it needs before its first
	// use.
	Device *provisioning.Device

	key string // of all devices

	mu     sync.Mutex
	stores map[string]*cache.Memory // by registration ID
}

// Start makes a simulation that ends with the test. In a bubble, call it inside.
func Start(t interface{ Cleanup(func()) }) *Simulation { return on(simnet.ForTest(t)) }

// New makes a simulation outside of a test. It must be closed.
func New() *Simulation { return on(simnet.New()) }

func on(network *simnet.Network) *Simulation {
	var key [32]byte
	_, _ = rand.Read(key[:]) // never fails
	s := &Simulation{
		Network: network, DPS: dpstest.New(network, dpstest.Config{RetryAfter: time.Second}),
		Hub: hubtest.NewHub(network, HubHost), OtherHub: hubtest.NewHub(network, OtherHubHost),
		key: base64.StdEncoding.EncodeToString(key[:]), stores: map[string]*cache.Memory{},
	}
	s.DPS.Link(s.Hub, s.OtherHub)
	s.Device = s.Enroll(DeviceID)
	return s
}

// Close ends the services and every connection to them. Devices are the caller's to end first.
func (s *Simulation) Close() error { return s.Network.Close() }

// Enroll admits one more device with a symmetric key, assigned to Hub, and returns what its program
// would begin with. It panics if DPS would refuse the registration ID.
func (s *Simulation) Enroll(registrationID string) *provisioning.Device {
	err := s.DPS.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: registrationID, Attestation: dpstest.Keys(s.key, ""),
		AllocationPolicy: dpstest.PolicyStatic, IoTHubs: []string{s.Hub.Host()},
	})
	if err != nil {
		panic(fmt.Sprintf("devicetest: %v", err))
	}
	return s.Restart(registrationID)
}

// Restart returns an enrolled device as its program's next start has it: a new Device with the
// store of the one before. End that first.
func (s *Simulation) Restart(registrationID string) *provisioning.Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	store := s.stores[strings.ToLower(registrationID)]
	if store == nil {
		store = &cache.Memory{} // a cache.Dir on a device
		s.stores[strings.ToLower(registrationID)] = store
	}
	return &provisioning.Device{
		IDScope:     s.DPS.IDScope(),
		Attestation: s.Credential(registrationID),
		Store:       store,
		// These two are all that differs from a program's use of Azure.
		DialContext: s.Network.DialContext,
		TLSConfig:   s.Network.TLSConfig(),
	}
}

// Credential is what an enrolled device shows to DPS and to its hub.
func (s *Simulation) Credential(registrationID string) dps.SymmetricKey {
	return dps.SymmetricKey{ID: registrationID, Key: s.key}
}
