// SPDX-License-Identifier: Apache-2.0

// Package promdevice tells Prometheus what devices do. It is a module of its own, for what it
// depends on.
//
//	devices := &promdevice.Collector{}
//	prometheus.MustRegister(devices)
//	dev := &provisioning.Device{
//		IDScope:     "0ne00ABCDEF",
//		Attestation: dps.SymmetricKey{ID: "sensor-042", Key: os.Getenv("DEVICE_KEY")},
//		Store:       cache.Dir("/var/lib/sensor"),
//		Trace:       devices.Trace(nil), // or the Trace that the program has already
//	}
//	http.Handle("/metrics", promhttp.Handler())
//
// One Collector serves any number of devices, and makes some hundred time series of ten thousand as
// of one: what devices share, such as their state, the outcome and the hub's name, is a label, and
// the registration ID is one only where PerDevice says so. docs/metrics.md of the repository has
// every name with its unit and its meaning. In the directory dashboard are a dashboard for Grafana,
// and rules that alert.
//
// What the program does with an MQTT client of its own beyond its state is not followed.
//
// # Before the first release
//
// The module names the library by a version that there is not yet. Until there is, a program
// takes both from a clone of the repository, by a workspace (go.dev/ref/mod#workspaces):
//
//	go work init . ../rehome ../rehome/provisioning/promdevice
package promdevice
