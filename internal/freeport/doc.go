// SPDX-License-Identifier: Apache-2.0

// Package freeport finds ports on loopback for servers of tests and trials that are to have the
// same one again after a restart, or are told of each other's before they listen. Whoever can
// listen at port 0 does that instead.
package freeport
