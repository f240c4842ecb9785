// SPDX-License-Identifier: Apache-2.0

// Package mqttserver is the server side of one MQTT 3.1.1 connection, for simulators of services
// that speak it, and for a gateway that listens to senders.
//
// A service decides what a client may do and what it is told; this package does the rest: it reads
// packets within limits, keeps packet identifiers, writes one packet at a time, watches the
// keep-alive, and ends everything it started.
//
//	func (s *service) ServeMQTT(nc net.Conn) {
//		mqttserver.Serve(context.Background(), nc, s, mqttserver.Options{})
//	}
//
//	func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
//		nc, err := mqttserver.WebSocket(w, r) // answers what is no upgrade by itself
//		if err == nil {
//			mqttserver.Serve(r.Context(), nc, s, mqttserver.Options{})
//		}
//	}
//
//	// Publish is one method of Handler. A service that must acknowledge before it
//	// responds says so:
//	func (s *service) Publish(
//		ctx context.Context, c *mqttserver.Session, m *mqttserver.Incoming,
//	) error {
//		if err := m.Ack(); err != nil {
//			return err
//		}
//		_, err := c.Publish(ctx, mqttserver.Message{
//			Topic: "answer", Payload: body, QoS: 1,
//		})
//		return err
//	}
//
// It is not a broker: nothing is routed between clients, no subscription is matched, nothing is
// retained, and QoS 2 is not spoken (a PUBLISH at QoS 2 ends the connection, as DPS and IoT Hub end
// it).
//
// The packets are encoded and decoded by Paho's codec. Section numbers in comments are those of the
// OASIS standard "MQTT Version 3.1.1".
package mqttserver
