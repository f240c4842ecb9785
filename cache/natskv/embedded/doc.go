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
// A program that links this package has the whole server in it, some 12 MB. One that connects to
// NATS servers elsewhere does not need it.
package embedded
