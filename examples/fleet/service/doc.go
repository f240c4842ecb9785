// SPDX-License-Identifier: Apache-2.0

// Package service models what a fleet meets: one DPS with its quota of registrations a minute, and
// IoT hubs with their rates of new connections. A model sees requests, each with its device and its
// moment, and answers them; it knows nothing of what a device is about to do, and shares no code
// with it.
//
// [World.Answer] is called for one request after the other, in the order of their moments. What a
// service has asked of a device is kept in a [Ledger], which counts the requests that came before
// that was over.
package service
