// SPDX-License-Identifier: Apache-2.0

// Package amqp tells clients of AMQP 1.0 that a simulated service does not speak it, in AMQP: they
// report the reason in place of a time-out.
//
//	func (s *service) ServeAMQP(nc net.Conn) { amqp.Refuse(nc, amqp.Reason) }
//
// It knows what that takes, and no more: the headers, SASL without a look at the credentials, open
// and close. Section numbers in comments are those of the OASIS standard "AMQP Version 1.0", parts
// 2 (transport) and 5 (security).
package amqp
