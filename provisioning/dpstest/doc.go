// Package dpstest is a simulator of the Azure IoT Hub Device Provisioning Service (DPS), for tests of devices.
//
// A [Server] speaks what the service speaks to devices: HTTPS, MQTT 3.1.1 and MQTT over WebSocket, with real TLS and
// client certificates, on a [hubtest.Network] in memory or on loopback sockets. It verifies what the service verifies,
// so a device that works here proves its identity in the right way, and it creates the device's identity at the
// simulated hub it assigns.
//
//	network := hubtest.NewNetwork()
//	defer network.Close()
//	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
//	dps := dpstest.New(network, dpstest.Config{})
//	dps.Link(hub)
//	dps.Enroll(dpstest.IndividualEnrollment{RegistrationID: "sensor-042", Attestation: dpstest.Keys(key, "")})
//
//	// … run the device: ID scope dps.IDScope(), dial function network.DialContext, TLS network.TLSConfig() …
//
//	fmt.Println(dps.Count(dpstest.Register)) // how often did it ask?
//
// # What is simulated
//
//   - register, operation polls and, over HTTPS, the device registration status lookup, in API versions 2017-11-15 to
//     2025-07-01-preview, with the service's headers, bodies, error codes and topics;
//   - attestation by symmetric key and by X.509 certificate, individually and in groups; disabled enrollments;
//   - registration records, the three reprovision policies, the sticky behaviour of old API versions;
//   - allocation: hashed with weights, by latency, static, and custom by a Go function ([Config].Allocate);
//   - the two limits on requests, operation lifetimes, and operators' moves ([Server.Move], [Server.MoveNow]);
//   - any failure on demand ([Server.Inject]), and a log of all requests ([Server.Requests]).
//
// Where the service's behaviour is not published, a field of [Config] chooses.
//
// # What is not
//
// TPM attestation (such enrollments are kept and admit nobody), issuing of certificates, AMQP. Initial twins and
// capabilities are kept with their enrollments but do not reach the hub, and there is no twin to migrate. A CA that a group
// names must be made known with [Server.AddCA]; possession is not proved. Where MQTT allows one session per client ID,
// the simulator serves them all, as a service of many front ends may.
//
// # Choices
//
// A registration is carried out when it arrives; Config.Polls decides how long its operation goes on answering
// "assigning". A status lookup therefore shows the outcome at once. An operation outlives its connection: it can be
// polled over another one. Under the policy that resets devices, the substatus of every later registration is
// deviceDataReset, on the same hub too. A token is judged at every request, so one that expires while the device polls is answered
// 401. An unknown ID scope is answered 404 on every transport, and over MQTT only when the device registers. A hub that
// was unlinked loses no device by itself: those registered there stay until they register again, and those that a policy keeps
// there fail with 400208.
package dpstest
