// SPDX-License-Identifier: Apache-2.0

// Package rules decides what a device does next, given what it knows and what has just happened. It
// is the whole of the decision and nothing else: no network, file, goroutine or clock is in it, so
// that the rules can be read as tables, explored by tests, and driven by a simulation of a fleet
// exactly as a device runs them.
//
//	state := rules.State{Settings: rules.Defaults()}
//	state, actions := rules.Step(state, rules.Boot{Next: retry.Register}, now, random)
//	for _, action := range actions {
//		perform(action) // what comes of it is the next event
//	}
//	at, ok := state.Wake() // when to call Fire, if nothing else happens before
//
// Two timers run side by side, H for the hub and D for DPS; a third, R, is that of a certificate
// which the service has issued. A device that waits for DPS goes on
// trying the hub it remembers. [Apply] says what follows from an event, [Fire] starts what is due,
// and [Step] does both.
//
// The rules themselves are told in the documentation of package provisioning, row by row; the tests
// here are named for these rows. Every floor, cap and window of H and D is in delay.go; what a hub
// that asked for nothing is granted (hubconn.Error.RetryAfter) comes in with the event.
package rules
