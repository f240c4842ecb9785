// SPDX-License-Identifier: Apache-2.0

// Package query is the query language of IoT Hub and DPS, as far as operators use it on twins and
// enrollments. What it does not know it refuses, with the place in the query and the reason, so
// that nobody takes an answer to another question for the one that was asked.
//
//	q, err := query.Parse("SELECT deviceId FROM devices WHERE tags.site IN ['a', 'b']")
//	if err != nil {
//		return err // position 8: …
//	}
//	rows := q.Rows(twins)
//
// It has SELECT * and projections with AS, TOP, COUNT, SUM, AVG, MIN and MAX, FROM, WHERE with AND,
// OR, NOT, parentheses, comparisons of members, literals and each other, IN and NIN, IS_DEFINED and
// its like, STARTS_WITH, ENDS_WITH and CONTAINS, and GROUP BY. Azure docs: "IoT Hub query language
// for device and module twins, jobs, and message routing". As there, a comparison with a member
// that is absent is neither true nor false, and neither is its negation.
package query
