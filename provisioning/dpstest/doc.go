// SPDX-License-Identifier: Apache-2.0

// Package dpstest is a simulator of the Azure IoT Hub Device Provisioning Service (DPS), for tests
// of devices.
//
// A [Server] speaks what the service speaks to devices: HTTPS, MQTT 3.1.1 and MQTT over WebSocket,
// with real TLS and client certificates, on a [simnet.Network]: in memory ([simnet.ForTest],
// [simnet.New]) or on loopback sockets ([simnet.Listen]). It verifies what the service verifies, so
// a device that works here proves its identity in the right way, and it creates the device's
// identity at the simulated hub it assigns.
//
//	network := simnet.ForTest(t)
//	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
//	service := dpstest.New(network, dpstest.Config{})
//	service.Link(hub)
//	service.Enroll(dpstest.IndividualEnrollment{
//		RegistrationID: "sensor-042", Attestation: dpstest.Keys(key, ""),
//	})
//
//	// … run the device: ID scope service.IDScope(), dial function network.DialContext,
//	// TLS network.TLSConfig() …
//
//	fmt.Println(service.Count(dpstest.Register)) // how often it registered
//
// Operators' tools reach it too, by the service's REST API: give them
// [Server.ServiceConnectionString], and [hubtest.Hub.ConnectionString] for the hubs. [Server.Save]
// and [Server.Load] keep its state over a restart.
//
// # Moving a device
//
// A device moves in three steps, by the API or by hand, and they work here as they do at the
// service:
//
//	set the reprovision policy    e.ReprovisionPolicy = &dpstest.ReprovisionPolicy{
//	                                  UpdateHubAssignment: true, MigrateDeviceData: true}
//	change the allocation         e.AllocationPolicy = dpstest.PolicyStatic
//	                              e.IoTHubs = []string{"hub-b.azure-devices.net"}
//	                              service.Enroll(e)
//	have the device register      by a direct method, say; or service.MoveNow(id, hub),
//	                              which lets it find out by being refused
//
// # What is simulated, and what is not
//
//	device API            register, operation polls, and over HTTPS the status
//	                      lookup; API versions 2017-11-15 to 2026-11-02-preview;
//	                      HTTPS, MQTT, MQTT over WebSocket; headers, bodies, codes,
//	                      topics; the hub's connection profile, which the newest of
//	                      these versions tells. Not: AMQP
//	attestation           symmetric keys and X.509 certificates, individually and in
//	                      groups; the nearest CA; CAs by name (Server.AddCA); TPM
//	                      over HTTPS, by the activation challenge. Not: TPM keys
//	                      other than RSA, proof of possession of a CA
//	certificates          issued by signing request (Server.Issuer) under the API
//	                      versions 2025-07-01-preview, 2026-11-01 and
//	                      2026-11-02-preview, by symmetric key, X.509 and TPM; hubs
//	                      accept and renew them; chains that are wrong on demand
//	                      (Fault.Chain). Not: the older design of
//	                      2021-11-01-preview, external roots
//	enrollments           device ID, initial twin, capabilities, status, ETags; an
//	                      individual enrollment goes before groups. Not: trust
//	                      bundles
//	allocation            hashed by weights, lowest latency by a table, static,
//	                      custom by webhook or Go function; for each enrollment or
//	                      for all; subsets of hubs; hubs linked and unlinked at any
//	                      time. Not: measured latency
//	device data           twin and capabilities migrate, are reset, or stay; old
//	                      identity removed, its connection cut; sticky behavior of
//	                      old API versions, with a note in the log of requests that
//	                      names the client (Request.Note). Not, as at the service:
//	                      data of modules does not move, nor do messages in queues
//	registration records  created, updated, deleted; payload; substatus by API
//	                      version. Not: their quota
//	limits                registrations with lookups, polls for each device,
//	                      operators' requests; message size. Not: numbers of
//	                      enrollments, groups and CAs
//	service REST API      enrollments and groups: put, get, delete, query, bulk,
//	                      attestation mechanism; registration records: get, delete,
//	                      query; SAS as provisioningserviceowner. Not:
//	                      projections in queries, Entra ID tokens, custom access
//	                      policies, linking of hubs
//	failures              any, on demand (Server.Inject), and a log of all requests
//	                      (Server.Requests)
//
// # Choices
//
// Where the service's behaviour is not published, a field of [Config] chooses, or this:
//
//   - A registration takes the time that the device is told to wait (Config.AssignTime), and is
//     carried out at its end; a custom allocation is asked at once. Until then operation, record
//     and status lookup say "assigning". The newest registration of a device decides, and older
//     operations tell what came of it.
//   - An operation outlives its connection: it can be polled over another one. A restart loses it.
//   - Under the policy that resets devices, the substatus of every later registration is
//     deviceDataReset, on the same hub too. A device that DPS did not know but the hub did keeps
//     the twin it has there.
//   - A signing request that is not base64, is above 8 KB or has another common name is answered
//     400 with 400004 at once; one that is no PKCS #10, has a wrong signature or a key that is not
//     supported fails the registration with 400037, and a policy that was deleted with 400040. A
//     request under an older API version is not read. A policy without a request leaves the device
//     the credential it registered with; one with a request leaves it no key. A status lookup shows
//     no chain, polls of an operation go on showing it.
//   - The key of a TPM's challenge is good for an hour, and its key at the hub stays the same from
//     registration to registration.
//   - A token is checked at every request, so one that expires while the device polls is
//     answered 401. An unknown ID scope is answered 404 on every transport, and over MQTT only when
//     the device registers. Where MQTT allows one session per client ID, the simulator serves them
//     all, as a service of many front ends may.
//   - A hub that was unlinked loses no device by itself: those registered there stay until they
//     register again, and those that a policy keeps there fail with 400208. Nothing is taken from
//     it: its devices begin elsewhere with their initial twin.
//   - A webhook is called once. What is no response 200 with a hub that it was offered fails the
//     registration with 400207.
//   - Reading an enrollment shows no keys and no certificates, only creating, replacing and asking
//     for the attestation mechanism do. One that is written back without them keeps those it had.
//     To replace one, If-Match must be its ETag or "*".
package dpstest
