// SPDX-License-Identifier: Apache-2.0

package memnet

import (
	"io"
	"net"
	"sync"
)

// Join carries the bytes of two connections to each other, as a proxy does, until one of them ends;
// then it closes both and returns.
func Join(a, b net.Conn) {
	var both sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		both.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].Close()
			_ = pair[1].Close()
		})
	}
	both.Wait()
}
