// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

// draws is how many devices draw in TestOfAMillionDrawsNoneIsEarly.
const draws = 1_000_000
