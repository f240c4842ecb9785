// SPDX-License-Identifier: Apache-2.0

//go:build unix && !race

// The race detector allocates too, and makes pools forget at random.

package hubconn_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// mostAllocations is what docs/benchmarks.md promises of a short message without properties.
const mostAllocations = 2

func TestAShortMessageCostsFewAllocations(t *testing.T) {
	server := startBenchServer(t)
	m := hubconn.Message{Body: bytes.Repeat([]byte("x"), 64)}
	for _, inFlight := range []int{1, 32} {
		t.Run(fmt.Sprint(inFlight), func(t *testing.T) {
			dialer := &hubconn.Dialer{
				DialContext: server.dial, TLSConfig: server.tlsConfig(), MaxInFlight: inFlight,
			}
			hub := hubconn.Hub{Host: host, DeviceID: "dev1"}
			conn, err := dialer.Dial(t.Context(), hub, benchKey)
			require.NoError(t, err)
			defer func() { _ = conn.Close() }()
			crew := newCrew(t, inFlight, func() error { return conn.Send(t.Context(), m) })
			defer crew.dismiss()
			const count = 5000
			crew.turn(count) // what grows once is not counted
			each := crew.turn(count).allocations / count
			assert.LessOrEqual(t, each, float64(mostAllocations))
			t.Logf("%.2f allocations", each)
		})
	}
}
