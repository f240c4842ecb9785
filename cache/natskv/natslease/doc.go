// SPDX-License-Identifier: Apache-2.0

// Package natslease is leases over NATS: several replicas of a program share out their devices by a
// key-value bucket of JetStream. It is the [lease.Leases] of a [lease.Keeper].
//
//	nc, err := nats.Connect("nats://nats-0,nats://nats-1", natskv.ConnOptions()...)
//	if err != nil {
//		return err
//	}
//	replica, err := natslease.Join(ctx, natslease.Config{
//		Conn: nc, Name: "gateway-0", Replicas: 3,
//	})
//	if err != nil {
//		return err
//	}
//	defer replica.Close(context.Background())
//	keeper := &lease.Keeper{Leases: replica, Start: start, Stop: stop}
//
// # How it works
//
// The bucket has a key for each replica and one for each identity. The replica's key has its
// session, a random number, and is written again each third of the lease's duration. The identity's
// key has the session that holds its lease, and is written when that changes, no more: 10,000
// devices at rest cost as many writes as one.
//
//	key            value                          written
//	m.<replica>    session, duration of leases    each third of the duration
//	i.<identity>   session that has the lease     when it is acquired or released
//
// A lease is held by the session in its key as long as that session is the one in its replica's
// key. Every write names the revision that it replaces, and NATS refuses it if there is another by
// now. The revision of an identity's key is the lease's fence.
//
// A replica is dead for others that have seen nothing of it for 1.1 times the duration. One of them
// deletes its key, if that has the revision they saw last: so either the replica has written it
// before, and lives, or its next write is refused, and it knows. By its own clock its leases were
// not confirmed any more when the others began to take them, for it counts from before its write,
// and they count from after they saw it. No two wall clocks are compared, and no expiry of the
// server's is relied on: that goes by a wall clock too, and would find everybody dead after the
// server was away.
//
// A replica that finds its session ended begins another, and takes those of its leases anew that
// nobody else has taken. The contexts of the others end.
//
// # When NATS is away
//
// Leases are not confirmed any more once the duration has passed, so that nothing is connected
// anew; what is connected stays, and what runs goes on. When NATS is back, everybody has two thirds
// of the duration or more before they are taken for dead. A replica that was cut off alone finds
// its devices with the others.
//
// A computer that was suspended, and its clock for durations with it, learns of it at its next
// write. Until then it takes its leases for confirmed.
//
// # What a death costs
//
// Three gateways have 10,000 connected devices by leases of 15 s, and a NATS server each. One is
// killed with its server, ten times, every other time in such a way that it lives on and is cut off
// from the servers alone. On a machine of two processors that runs all of this, the simulated hub
// and other work:
//
//	the dead one's devices                  3,237 to 3,407
//	it is found dead                        12 to 16 s after its death
//	all are connected by the others         15 to 27 s after it
//	a read of the store, on average         24 to 178 ms, 2.6 s at most
//	from there to the session, on average   38 to 415 ms, 2.3 s at most
//	a device is connected by two            1.9 s at most, until the hub's end arrives
//	it returns: all are back with it        5 to 13 s after it has begun to join
//	questions to DPS, other devices moved   none
//
// The servers choose a leader meanwhile, in 4 to 9 s or twice that. Where that takes long, it is
// found dead later, by two thirds of the duration after the choice at the latest, and reads of a
// natskv.Store wait.
package natslease
