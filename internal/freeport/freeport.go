// SPDX-License-Identifier: Apache-2.0

package freeport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
)

// Ports are taken from below those that systems give to outgoing connections: one of these could
// have the port of a server that is down for a moment. Each process begins somewhere else.
const (
	first = 10_000
	count = 20_000
)

var next atomic.Int64

func init() { next.Store(int64(os.Getpid()) * 101) }

// Addresses returns so many addresses on loopback that nobody listened on a moment ago, and that
// this process has not given out before. It is safe for concurrent use.
func Addresses(n int) (addresses []string, err error) {
	for tries := 0; len(addresses) < n; tries++ {
		if tries == count {
			return nil, errors.New("no port is free on loopback")
		}
		address := fmt.Sprintf("127.0.0.1:%d", first+next.Add(1)%count)
		l, err := net.Listen("tcp", address)
		if err != nil {
			continue
		}
		_ = l.Close()
		addresses = append(addresses, address)
	}
	return addresses, nil
}
