// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// A connection that is lost is told once, by the device: its parts do not begin again on it.
func TestPartsThatEndBeforeTheirContextOnALostConnectionAreNotInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const key = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="
		network := simnet.New()
		defer network.Close()
		simulated := hubtest.NewHub(network, "hub-a.azure-devices.net")
		require.NoError(t, simulated.Put(hubtest.Device{ID: "kitchen", PrimaryKey: key}))
		d := &hubconn.Dialer{TLSConfig: network.TLSConfig(), DialContext: network.DialContext}
		hub, err := d.Dial(
			t.Context(), hubconn.Hub{Host: simulated.Host(), DeviceID: "kitchen"},
			dps.SymmetricKey{ID: "kitchen", Key: key},
		)
		require.NoError(t, err)
		defer hub.Close()

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var log strings.Builder
		parts := 0
		go func() {
			time.Sleep(time.Second)
			network.Cut(simulated.Host())
			<-hub.Context().Done()
			time.Sleep(time.Second) // longer than it takes, to be sure
			cancel()
		}()
		(&thermostat{log: slog.New(slog.NewTextHandler(&log, nil))}).keep(ctx, "desired", hub,
			func(context.Context, *hubconn.Conn) error {
				parts++
				<-hub.Context().Done()
				return errors.New("the connection is gone")
			})
		assert.Equal(t, 1, parts)
		assert.Empty(t, log.String())
	})
}

// Who sends SIGTERM may have little patience: the tests that run the program allow for a busy
// machine, this one for what the program may add to it.
func TestProgramGivesItselfLessThanThreeSecondsToEnd(t *testing.T) {
	assert.Less(t, goodbye, 3*time.Second)
}
