// SPDX-License-Identifier: Apache-2.0

//go:build race

package main_test

// Where the tests look for races, the program that they run does so too, and ends with a status of
// its own where it finds one.
func init() { buildFlags = append(buildFlags, "-race") }
