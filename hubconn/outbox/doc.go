// SPDX-License-Identifier: Apache-2.0

// Package outbox keeps telemetry over outages and restarts.
package outbox
