// SPDX-License-Identifier: Apache-2.0

// Package natstest starts NATS servers for tests of this module: one without a port, or a cluster
// of three that speak to each other over loopback, as three machines would, in processes of their
// own where they are to be killed. A Link is a replica's way to them, which can be cut or fall
// silent.
package natstest
