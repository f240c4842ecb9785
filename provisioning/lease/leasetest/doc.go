// SPDX-License-Identifier: Apache-2.0

// Package leasetest checks that an implementation of [lease.Leases] keeps the promises that a
// [lease.Keeper] relies on, and has replicas in memory for tests of what runs by leases.
//
//	func TestLeases(t *testing.T) {
//		leasetest.Run(t, func(t *testing.T) leasetest.Join {
//			group := newGroup(t) // empty, and shared with no other test
//			return func(name string) lease.Leases { return group.join(t, name) }
//		})
//	}
//
// It does not check what happens when a replica is cut off or dies: only the implementation knows
// how to do that to its service. A [Group] can do both, in the virtual time of a
// [testing/synctest] bubble:
//
//	group := leasetest.Group{Lease: 15 * time.Second}
//	a, b := group.Join("a"), group.Join("b")
//	a.Cut() // after 15 s its leases are b's to take
package leasetest
