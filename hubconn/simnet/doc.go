// SPDX-License-Identifier: Apache-2.0

// Package simnet is the network that simulated services live on: names, ports, TLS, certificates, a
// clock, and the faults of the way.
//
//	network := simnet.ForTest(t) // in memory, closed at the test's end
//	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
//	service := dpstest.New(network, dpstest.Config{})
//
//	// … run the device with network.DialContext as its dial function and
//	// network.TLSConfig() for its roots …
//
//	network.SetFault("hub-a.azure-devices.net", simnet.Refused)
//	network.SetPortFault("hub-b.azure-devices.net", simnet.PortMQTT, simnet.Blackhole)
//
// [New] and [ForTest] make a network in memory, which also works inside a testing/synctest bubble:
// hours of back-off pass in no time. [Listen] makes one on loopback sockets, for programs in any
// language.
//
// A service is a [Site]: what answers behind a name, over HTTPS on port 443 and MQTT on port 8883.
// The hubs of package hubtest and the provisioning service of package dpstest are sites; a test may
// bring its own.
//
// What happens at all of them, in one order, is kept in an [EventLog] once [Network.RecordEvents]
// gives the network one: connections, telemetry, twins, registrations and the rest of [EventKind].
//
// It is not a model of routes, delays or bandwidth: bytes arrive at once, or not at all.
package simnet
