// SPDX-License-Identifier: Apache-2.0

// Package oneline makes foreign text fit for an error or a log: one line of it, with an end.
//
// What a peer says may hold anything, and an error that breaks a log's line can pretend to be
// another one.
package oneline
