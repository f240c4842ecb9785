// SPDX-License-Identifier: Apache-2.0

package dps

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/rehome-iot/rehome/internal/dial"
)

// resolveTimeout bounds a question that nothing but the next try of a hub waits for.
const resolveTimeout = 30 * time.Second

// Resolves says whether the endpoint's name can be resolved: a hub whose name is unknown while that
// of DPS is known has been deleted. It opens a connection and sends nothing, because only that goes
// through the same resolver as everything else when DialContext is set. The connection is to the
// port that Transport registers on: a firewall may let no other through.
//
// It never uses the Proxy. A proxy resolves names by itself, so the name of a hub is only ever
// found missing by the device's own resolver, and it is that one which has to know the name of DPS.
// Where DPS is reached through a proxy alone, the connection may well fail; that the name had an
// address to connect to is enough.
//
// The answer is false when it is not certain, or not known within 30 s or before ctx ends.
func (c *Client) Resolves(ctx context.Context) bool {
	limited, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	conn, err := (&dial.Dialer{DialContext: c.DialContext}).TCP(
		limited, c.address(c.Transport == MQTT),
	)
	if err == nil {
		_ = conn.Close()
		return true
	}
	if _, dns := errors.AsType[*net.DNSError](err); dns || ctx.Err() != nil {
		return false
	}
	return limited.Err() == nil || hadAddress(err)
}

// hadAddress reports whether a dial failed at an IP address, as package net says it: by then the
// name was resolved, even if nothing ever answered there.
func hadAddress(err error) bool {
	failed, ok := errors.AsType[*net.OpError](err)
	if !ok || failed.Op != "dial" {
		return false
	}
	address, ok := failed.Addr.(*net.TCPAddr)
	return ok && address != nil
}
