// SPDX-License-Identifier: Apache-2.0

//go:build race

package main

// raceDetector says that the race detector is on, with which everything takes ten times as long.
const raceDetector = true
