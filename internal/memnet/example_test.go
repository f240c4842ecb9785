// SPDX-License-Identifier: Apache-2.0

package memnet_test

import (
	"fmt"
	"io"

	"github.com/rehome-iot/rehome/internal/memnet"
)

func ExamplePipe() {
	client, server := memnet.Pipe("192.0.2.1:50000", "hub.example:8883")
	fmt.Fprint(server, "half a response") // no reader needed
	server.Reset()
	got, err := io.ReadAll(client)
	fmt.Printf("%s; then %v\n", got, err)
	// Output: half a response; then read tcp 192.0.2.1:50000->hub.example:8883: read: connection reset by peer
}
