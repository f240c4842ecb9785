// SPDX-License-Identifier: Apache-2.0

// Package dashboard is gateway.json, a dashboard of Grafana for what promdevice exposes, and
// alerts.yaml, alerts of Prometheus on it. It has no code, and is a module of its own for its
// tests, which read each query with Prometheus' own parser and ask whether what it asks for is
// there.
package dashboard
