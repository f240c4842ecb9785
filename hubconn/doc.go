// SPDX-License-Identifier: Apache-2.0

// Package hubconn is one connection of one device to one Azure IoT hub, over MQTT on port 8883 or
// over WebSocket on port 443, with a shared access signature or a client certificate.
//
//	dialer := &hubconn.Dialer{}
//	hub := hubconn.Hub{Host: "contoso.azure-devices.net", DeviceID: "sensor-042"}
//	conn, err := dialer.Dial(ctx, hub, credential)
//	if err != nil {
//		return err // hubconn.ClassOf(err) tells what the failure means
//	}
//	defer conn.Close()
//	return conn.Send(ctx, hubconn.Message{
//		Body: []byte(`{"temperature":21.5}`), ContentType: "application/json",
//	})
//
// [Dialer.Dial] makes one attempt and never retries; [ClassOf] and package retry say what its
// errors call for. [Conn.Context] is done when the connection is, and its cause says why. A SAS
// token is renewed behind the same [Conn] before it expires, since the hub ends the connections of
// expired tokens and MQTT 3.1.1 cannot hand it a new one; what keeps that from working ends the
// connection when the token is over, and a refusal of the hub at once.
//
// # What a device does on its hub
//
//	telemetry            Conn.Send; Conn.Sequence in order, several in flight;
//	                     Dialer.Post over HTTPS, without a connection
//	cloud-to-device      Conn.Messages, acknowledged after the loop body;
//	                     Dialer.Receive over HTTPS
//	direct methods       Conn.HandleMethods
//	twin                 Conn.Twin, Conn.Report, and Conn.Desired to follow the
//	                     desired properties
//	file upload          Conn.Upload
//	certificates         Conn.IssueCertificate for a new one, Conn.SetCredential to go
//	                     on with it
//	modules              Hub.ModuleID; Message.Output and Message.Input
//	IoT Plug and Play    Dialer.ModelID, Message.Component, Component and PropertyAck
//
// All of it goes on through a renewal: messages in flight are sent again, subscriptions are made
// anew before anything else uses the new link, and the desired properties are compared with the
// hub's. What waits here for the program is bounded; each method says what happens above the bound.
// What the hub would close the connection for, a message that is too large or malformed, is refused
// before it is sent.
//
// # Classes of failure
//
//	throttled    429, or the hub's daily quota is used up
//	server       5xx; CONNACK 3; CONNACK 5 that took 45 s or more; the hub fails over or
//	             closes connections for an upgrade
//	unreachable  no response, a lost connection; a proxy in the hub's place that
//	             refuses an upgrade, or answers an HTTPS request with a success
//	untrusted    the server's certificate does not verify; no credential was sent
//	rejected     CONNACK 2, 4, 5 and undefined codes; 401, 403, 404 and other 4xx of
//	             the hub itself
//	incompatible CONNACK 1: the hub does not speak MQTT 3.1.1. It will go on saying
//	             so, and registering again helps only once the operator has moved the
//	             device: not more often than hourly
//	caller       the operation was at fault: refused before it was sent, or by the
//	             hub with 400, 412, 413 or 415 or by any other 4xx to a twin operation.
//	             The connection stays. Requests for certificates have their own table
//
// The package does not decide when to try again or where: that is for a
// [github.com/rehome-iot/rehome/provisioning.Device], or for you.
package hubconn
