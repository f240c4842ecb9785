// SPDX-License-Identifier: Apache-2.0

// Package reliability is tests alone: what the clients of DPS and of a hub notice, and how soon,
// when an operation of the network goes wrong in any of eight ways, and which certificates of a
// server they refuse. What they see stands in docs/reliability.md, and has to stay so:
//
//	go test ./internal/reliability          # compares
//	go test ./internal/reliability -update  # writes the page's tables
package reliability
