// SPDX-License-Identifier: Apache-2.0

// Package officialclients drives clients that others wrote against the simulators, unmodified: what
// such a client accepts says more than two halves of one project that agree with each other. The
// service's official Node clients know the real service. Plain clients know MQTT or HTTPS alone,
// and follow the service's published tutorials: mosquitto's programs and its broker, curl, and
// paho-mqtt for Python.
//
// Its tests run in a network namespace of their own, where the real names of DPS, of hubs and of
// storage lead to 127.0.0.1, with ports 443 and 8883 as the real ones: the clients have no settings
// for other ports. They need Linux, Node and the official clients:
//
//	npm ci --ignore-scripts --prefix internal/officialclients/testdata
//
// Where one of these is missing the tests are skipped, and go test says "[no tests to run]". Some
// need a program more (Debian: swtpm, mosquitto, mosquitto-clients, curl, python3-paho-mqtt), and
// are skipped where that is missing. With REHOME_OFFICIAL_CLIENTS=required all of these fail
// instead.
package officialclients
