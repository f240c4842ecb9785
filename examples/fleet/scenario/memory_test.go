// SPDX-License-Identifier: Apache-2.0

package scenario

import (
	"runtime"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/service"
)

// What a simulation needs for a while only is what it needs at most.
func TestTheMostMemoryIsToldAndNotTheLast(t *testing.T) {
	const some = 256 << 20
	var held []byte
	released := false
	o := Defaults()
	o.Devices, o.HubPerSecond = 1000, 5
	o.Asked = func(r service.Request, _ service.Answer) {
		switch {
		case released:
		case held == nil:
			held = make([]byte, some)
		case r.At > time.Minute:
			runtime.KeepAlive(held)
			held, released = nil, true
			debug.FreeOSMemory()
		}
	}
	s, _ := Named("reboot")
	_, f, err := s.Prepare(o).Run(t.Context())
	require.NoError(t, err)
	require.True(t, released)
	require.GreaterOrEqual(t, f.Memory, uint64(some))
	require.Less(t, newMemory().most, uint64(some), "it has been given back")
}
