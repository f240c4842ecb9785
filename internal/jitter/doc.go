// SPDX-License-Identifier: Apache-2.0

// Package jitter is where the random part of a device's delays comes from. It is a package of its
// own so that a simulation of a fleet can draw what a device would draw: [New] is for devices, and
// [From] makes the same numbers of entropy that is known.
package jitter
