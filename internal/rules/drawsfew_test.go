// SPDX-License-Identifier: Apache-2.0

//go:build race

package rules

// draws is how many devices draw in TestOfAMillionDrawsNoneIsEarly: the race detector, which has
// nothing to find there, takes ten times as long for each.
const draws = 20_000
