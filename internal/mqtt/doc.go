// SPDX-License-Identifier: Apache-2.0

// Package mqtt is one MQTT 3.1.1 connection behind contexts: dial, CONNECT, publish, subscribe,
// close. It wraps the Eclipse Paho client, which this package alone imports, and guards the process
// against peers that Paho would trust.
//
//	nc, err := (&mqtt.Dialer{}).TLS(ctx, "contoso.azure-devices.net:8883")
//	if err != nil {
//		return err
//	}
//	conn, err := mqtt.Connect(ctx, nc, mqtt.Options{
//		ClientID: "dev1", Username: user, Password: token,
//	})
//	if err != nil {
//		return err // *RefusedError when the server refused
//	}
//	defer conn.Close()
//	return conn.Publish(ctx, "devices/dev1/messages/events/", 1, []byte("hello"))
//
// A [Conn] lives once: it is never reconnected and never retries, and every wait in it ends with
// the event, with the connection or with the caller's context. Whoever owns the schedule opens
// another one.
//
// It is not a general MQTT client: no QoS 2, no will, no persistent store, one filter a SUBSCRIBE,
// and packets that none of these needs end the connection.
package mqtt
