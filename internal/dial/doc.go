// SPDX-License-Identifier: Apache-2.0

// Package dial opens the network connections of a device, whatever runs over them: HTTPS, MQTT, or
// MQTT over WebSocket.
//
//	d := &dial.Dialer{TLSConfig: config, Certificate: certificate}
//	nc, err := d.TLS(ctx, &url.URL{Scheme: "mqtts", Host: "contoso.azure-devices.net"})
//
// What all of them need stands here once: the way through a proxy, the authorities that are trusted
// where the program names none, TLS 1.2 at least and always verified, and whose TLS session may be
// resumed. A name is dialed in both address families at once, as net.Dialer does (RFC 8305).
//
// It sends nothing but what proxies and TLS need, has no time limit but that of the context, and
// never tries again, but for the one case that [Roots] tells.
package dial
