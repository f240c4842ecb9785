// Package hubtest simulates Azure IoT hubs, and the small internet they live on, for tests of devices.
//
// A [Network] has names, TLS, a clock and faults. [NewNetwork] makes one in memory, for tests in one process, where it
// also works inside a testing/synctest bubble: hours of back-off pass in no time. [Listen] makes one on loopback sockets, for
// programs in any language. A [Hub] on it speaks MQTT 3.1.1 on port 8883, and over WebSocket on port 443:
//
//	network := hubtest.NewNetwork()
//	defer network.Close()
//	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
//	hub.Put(hubtest.Device{ID: "sensor-042", PrimaryKey: key})
//
//	// … run the device with network.DialContext as its dial function and network.TLSConfig() for its roots …
//
//	hub.Disable("sensor-042")   // an operator does his worst
//	fmt.Println(hub.Attempts()) // how did the device take it?
//
// # What a hub checks
//
//   - the CONNECT: user name in its old and new forms, for this hub and this client ID; the device is known and enabled; a SAS
//     token signed with either key, for this device, not expired by more than five minutes of the network's clock; or a
//     client certificate with one of the device's thumbprints, valid at that time. Any failure is CONNACK 5, as at the service;
//     [Attempt].Reason tells a test which;
//   - one connection per device (a second closes the first), the keep-alive (closed after 1.5 times, or 29.45 minutes of silence), the
//     token's expiry (closed five minutes later; [Hub.SetExpiryGrace]);
//   - topics: telemetry under the device's own name, the four filters of the service. Anything else published, QoS 2, and messages above
//     256 KB close the connection.
//
// Telemetry is logged with its properties decoded ([Hub.Messages]). A will becomes telemetry with iothub-MessageType=Will, and
// RETAIN becomes the property mqtt-retain.
//
// # What can go wrong on demand
//
// At a hub ([Hub.Inject]): any CONNACK return code at once or late, no answer, a connection closed, reset or stalled at any stage, a
// lost PUBACK with the message stored or not, a refused SUBSCRIBE, an upgrade refused by the hub or by a proxy, with or without
// Retry-After. On the way to any host ([Network.SetFault] and its neighbours): names that do not exist or do not resolve, refused and unanswered
// connections, a reset after so many bytes, a stalled link, certificates that are expired, not yet valid, of an unknown CA or for
// another name, and a service whose clock is not the device's.
//
// # What is not simulated
//
// Nothing is routed between clients: a hub is not a broker. Twins, methods, cloud-to-device messages and uploads are not there yet: their
// subscriptions are granted, what devices publish to them is acknowledged and not answered, and sessions are not kept
// (SessionPresent is always 0). Module identities, certificates by authority, HTTPS operations, AMQP, quotas and throttling by rate are not
// there either; a test injects what throttling looks like.
//
// # Choices
//
// Where the service's behaviour is not published: a filter that is not the service's own, and a sixth subscription, are refused with
// SUBACK 0x80. A key that is rotated does not end a live connection. A deleted or disabled device loses its connection at once. The API version
// may be any date, or missing.
package hubtest
