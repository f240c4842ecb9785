// SPDX-License-Identifier: Apache-2.0

package hubconn_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"

	"github.com/rehome-iot/rehome/internal/memnet"
)

// inMemory is a DialContext whose every connection is served by a function.
func inMemory(serve func(net.Conn)) func(context.Context, string, string) (net.Conn, error) {
	return func(_ context.Context, _, address string) (net.Conn, error) {
		client, server := memnet.Pipe("device:1", address)
		go func() {
			defer server.Close()
			serve(server)
		}()
		return client, nil
	}
}

// refusingProxy is a DialContext to a proxy that opens no tunnel.
func refusingProxy(status int) func(context.Context, string, string) (net.Conn, error) {
	return inMemory(func(nc net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(nc)); err == nil {
			_, _ = fmt.Fprintf(
				nc, "HTTP/1.1 %d Refused\r\nContent-Length: 0\r\nRetry-After: 9\r\n\r\n", status,
			)
			_, _ = io.Copy(io.Discard, nc)
		}
	})
}
