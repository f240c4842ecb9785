// SPDX-License-Identifier: Apache-2.0

// Package memnet makes network connections that live in memory.
//
// It exists for the simulators and for tests: a connection has a buffer each way, deadlines, and
// the two troubles a real link has, a reset and a stall. All its waits are durable ones, so that it
// works inside a testing/synctest bubble, where hours of keep-alive pass in no time. A connection
// belongs to the bubble it was made in.
//
//	client, server := memnet.Pipe("192.0.2.1:50000", "hub.example:8883")
//	go serve(server)
//	client.Write(hello)
//	server.Stall(true) // no byte moves in either direction, and nothing is closed
//	server.Stall(false)
//	server.Reset() // the client reads what had arrived, then "connection reset by peer"
//
// It is not net.Pipe, whose writes wait for a reader: two peers that both write first would wait
// for ever there, while on a socket they do not. And it is no network: names, listeners and TLS are
// the business of package hubtest.
package memnet
