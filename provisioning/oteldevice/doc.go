// SPDX-License-Identifier: Apache-2.0

// Package oteldevice tells OpenTelemetry what devices do: metrics of all of them, and spans of each
// request to DPS and each attempt at a hub. It is a module of its own, for what it depends on,
// which is OpenTelemetry's API alone: the program sets up the SDK and its exporter.
//
//	tel := &oteldevice.Telemetry{} // of the global providers
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//		Store:       cache.Dir("/var/lib/sensor"),
//		Trace:       tel.Trace(nil), // or the Trace that the program has already
//	}
//
// One Telemetry serves any number of devices. docs/metrics.md of the repository has every name with
// its unit and its meaning.
//
// # How much there is of it
//
// The number of time series does not grow with the number of devices: what devices share, such as
// their state, the outcome and the hub's name, is an attribute, and the registration ID is one only
// where PerDevice says so. On spans it always is. A device that is connected makes no spans; what
// it sends is counted when a reader collects, and costs nothing in between.
//
// # The spans
//
// A span "device connect" is one effort to be connected: it begins when the device does something
// about it, and ends when it is connected, waits for its next try, or stops. Within it are a span
// for each exchange with DPS, such as "dps register", and for each attempt at a hub, such as "hub
// connect". The next effort, after the wait, links to the one before. What led to a span is its
// event "rehome.cause", why it failed its event "exception".
//
// # Before the first release
//
// The module names the library by a version that there is not yet. Until there is, a program
// takes both from a clone of the repository, by a workspace (go.dev/ref/mod#workspaces):
//
//	go work init . ../rehome ../rehome/provisioning/oteldevice
//
// # What it does not do
//
// It does not carry trace context in messages: that of a message is the program's, as an
// application property. It does not follow an MQTT client of the program's own beyond its state.
// No key, token or payload is in any attribute.
package oteldevice
