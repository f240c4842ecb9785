// SPDX-License-Identifier: Apache-2.0

// Package lease says which of several replicas of a program runs which identity, so that each
// device is connected by one of them, and by another soon after that one has died.
//
// [Leases] is what a service of leases does for one replica: it tells which replicas live, and
// gives the lease of an identity to one of them at a time. [Place] spreads the identities over the
// replicas, and a [Keeper] does the rest: it starts what is placed here once its lease is held, and
// hands over what is placed elsewhere.
//
//	keeper := &lease.Keeper{
//		Leases: leases, // of all replicas, or new(lease.Local) where there is one
//		Start: func(held lease.Lease) error {
//			return devices.Start(held.Identity(), lease.Guard(held, nil))
//		},
//		Stop: func(ctx context.Context, identity string, cause error) {
//			devices.Stop(ctx, identity)
//		},
//	}
//	keeper.Add(identities...) // the same ones in each replica
//	err := keeper.Run(ctx)
//
// Leases over NATS are a package of a nested module,
// github.com/rehome-iot/rehome/cache/natskv/natslease. Package leasetest checks an implementation
// of your own, and has replicas in memory for tests.
//
// # What a lease promises
//
// An IoT hub lets a device ID be connected once: of two connections the newer one ends the older.
// So a lease need not keep two replicas apart at every instant, as that of a lock would. It keeps
// them from taking the connection from each other over and over:
//
//   - A lease is used for a new connection only while [Lease].Held says so. [Guard] asks it before
//     each.
//   - A connection that is up stays up while the service of leases is away, however long.
//   - [Lease].Context ends when it is known that another has the lease. What runs by it stops then,
//     and does not connect again.
//
// It is not a lock for a store or a database: for that, whatever is written has to carry the
// [Lease].Fence and be refused where a greater one was seen.
package lease
