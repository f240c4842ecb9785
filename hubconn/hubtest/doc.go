// SPDX-License-Identifier: Apache-2.0

// Package hubtest simulates Azure IoT hubs, for tests of devices.
//
// A [Hub] lives on a [simnet.Network], which gives it a name, TLS, a clock and the faults of the
// way. [simnet.ForTest] and [simnet.New] make a network in memory, for tests in one process, where
// it also works inside a testing/synctest bubble: hours of back-off pass in no time.
// [simnet.Listen] makes one on loopback sockets, for programs in any language. The hub speaks MQTT
// 3.1.1 on port 8883 and over WebSocket on port 443, and HTTPS there:
//
//	network := simnet.ForTest(t)
//	hub := hubtest.NewHub(network, "hub-a.azure-devices.net")
//	hub.Put(hubtest.Device{ID: "sensor-042", PrimaryKey: key})
//
//	// … run the device with network.DialContext as its dial function and
//	// network.TLSConfig() for its roots …
//
//	hub.Disable("sensor-042")   // what an operator may do
//	fmt.Println(hub.Attempts()) // and how the device went on
//
// Hubs, like net/http/httptest's servers, are services: a test plays the back end by methods of
// [Hub], and sees what the device did in logs, or in the network's log of events
// ([simnet.Network.RecordEvents]). Nothing is routed between clients: a hub is not a broker.
//
// # What is simulated
//
//	identities       keys and thumbprints; disabled and deleted devices lose their
//	                 connections (Put, Get, Delete, Disable, PutModule …)
//	connecting       CONNECT in its old and new forms, SAS tokens of devices and of
//	                 policies, certificates, sessions with all their subscriptions,
//	                 five minutes of grace, take-over, keep-alive (1.5 times, or
//	                 29.45 minutes), token expiry, five subscriptions,
//	                 DeviceClientType and model ID (Attempts, Connected, Disconnect);
//	                 hubs of MQTT 5 alone (SetConnectionProfile)
//	certificates     issued by an Issuer, in place of keys and thumbprints; renewal over
//	                 $iothub/credentials; revocation (SetIssuer, SetCredentialSync,
//	                 SyncCredentials, RevokeCredentials)
//	telemetry        MQTT and HTTPS, single and batch; properties, wills, RETAIN;
//	                 256 KB (Messages)
//	cloud-to-device  MQTT and HTTPS (complete, abandon, reject); 50 deep, 64 KB,
//	                 locks, ten deliveries, expiry, dead letters, feedback; sessions
//	                 (SendC2D, C2DQueue, SettledC2D, Feedback, PurgeC2D)
//	methods          connect and response timeouts, 128 KB, late responses dropped
//	                 (Invoke)
//	twins            tags, desired, reported; versions, merge patches, ETags; 8 KB,
//	                 32 KB, keys, strings, depth, integers (Twin, PatchDesired,
//	                 PatchTags, PatchTwin, ReplaceTwin, SetTwin)
//	uploads          ten at a time, an hour each (SetUploadTTL); blob storage with
//	                 Put Blob, Put Block and Put Block List, read back by Get
//	                 Blob (Blob, BlobType, Uploads, BlobHost)
//	modules          all of the above but uploads and cloud-to-device over HTTPS;
//	                 inputs and outputs ("device/module" as ID)
//	REST API         devices and modules (create, get, update, delete, list, bulk),
//	                 twins (get, patch, replace), methods, cloud-to-device messages,
//	                 statistics, queries of twins of devices and modules; SAS of
//	                 the five built-in policies (ConnectionString)
//	state            keys, registry, twins, queues, sessions and trust over a
//	                 restart (Save, Load)
//	limits           rates, shaped and then refused; a daily quota (SetLimits)
//	trouble          faults at every stage (Inject), fail-over (FailOver), and those
//	                 of the network (Operations)
//
// # What is not simulated
//
// AMQP (over which the service SDKs send cloud-to-device messages and get feedback: here POST
// /devices/{id}/messages/deviceBound and [Hub.SendC2D] do it), MQTT 5, IoT Edge and its gateways,
// certificates by authorities other than an Issuer's, IP filters, routing and endpoints, jobs,
// configurations, functions of values in queries, when each member of a twin was changed
// ($metadata), device streams, the limits of the tiers beyond what SetLimits sets.
//
// # What can go wrong on demand
//
// At a hub ([Hub.Inject]): any CONNACK return code at once or late, no response, a connection
// closed, reset or stalled at any stage, a lost PUBACK with the message stored or not, a refused
// SUBSCRIBE, an upgrade or an HTTPS operation refused by the hub or by a proxy, with or without
// Retry-After, any status for a twin operation, messages to the device lost on the way, failing
// storage, a renewal of a certificate refused with any code before or after its 202, late, or never
// ended, and a chain that is missing, expired, for another key or no chain at all ([ChainFault]).
// Telemetry that asks for a fault the way the official SDKs' end-to-end tests do
// (AzIoTHub_FaultOperationType KillTcp and ShutDownMqtt) gets it. On the way to any host
// ([simnet.Network.SetFault] and its neighbours): names that do not exist or do not resolve,
// refused and unanswered connections, a reset after so many bytes, a stalled link, certificates
// that are expired, not yet valid, of an unknown CA or for another name, and a service whose clock
// is not the device's.
//
// # Choices
//
// Where the service's behaviour is not published, or its sources disagree:
//
//   - any failure of a CONNECT is return code 5, as the service's; [Attempt].Reason tells a test
//     which it was. Only a hub of the connection profile mqttV5 answers with 1, to every CONNECT of
//     MQTT 3.1.1;
//   - a topic that is not the service's own, QoS 2 and a message above 256 KB close the connection;
//     a filter that is not the service's, and a sixth subscription, are refused with SUBACK 0x80.
//     "#" and "devices/{id}/messages/#", which the service's samples use, bring a device its
//     cloud-to-device messages, and nothing else;
//   - a key that is rotated does not end a live connection; a deleted or disabled device loses its
//     connection at once;
//   - over MQTT a cloud-to-device message stays locked for as long as the connection lasts; what
//     was not acknowledged is sent again, marked as a duplicate and ahead of newer messages, on the
//     next connection. A client with CleanSession 1 loses its queue;
//   - messages wait for a device that has never been connected, too;
//   - a method's response may come over a newer connection than its request. One that is no JSON,
//     or above 128 KB, is 502000 for the caller;
//   - reported properties above 32 KB are refused with 400 ([Hub.SetOversizeStatus] makes it 413).
//     Keys with $ are refused, $version among them;
//   - over HTTPS an unknown device and a disabled one are both 404001; names of application
//     properties keep the case they have in the header;
//   - a certificate is issued in a second, by SAS sessions too; the credential ID that binds it to
//     its device is a URI in it, urn:uuid:…; [Hub.RevokeCredentials] closes the device's
//     connection, [Issuer.Revoke] closes none;
//   - a request for a certificate that has no request ID, or comes before the subscription, gets no
//     answer, and the connection stays. One whose 200 was lost is over;
//   - while traffic shaping delays a packet, those behind it wait, pings included;
//   - the API version may be any date, and over MQTT it may be missing.
package hubtest
