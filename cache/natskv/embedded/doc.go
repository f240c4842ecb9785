// SPDX-License-Identifier: Apache-2.0

// Package embedded runs a NATS server within the process. On one machine it has no port at all; as
// one of three it is a member of a real cluster, as a server of its own would be.
//
//	server, err := embedded.Start(ctx, embedded.Config{Dir: "/var/lib/gateway/nats"})
//	if err != nil {
//		return err
//	}
//	defer server.Close()
//	nc, err := server.Connect()
//
// It adds some 11 MB to a program, and 10 MB to what it needs of memory; at rest, a replica's lease
// included, it takes two thousandths of a processor. With the entries and leases of 10,000 devices
// the process has some 40 MB. A program that connects to NATS servers elsewhere does not need it.
package embedded
