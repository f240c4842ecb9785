// SPDX-License-Identifier: Apache-2.0

package provisioning

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// The choice between two transports, attempt by attempt.

func answered(over ...hubconn.Transport) attempt[hubconn.Transport] {
	return attempt[hubconn.Transport]{tried: over, reached: answer}
}

func TestWhenThePreferredTransportWasTriedInVainIsRememberedOnceADay(t *testing.T) {
	const mqtt, ws = hubconn.MQTT, hubconn.MQTTWebSocket
	c := choiceOf("hub", hubconn.Auto, hubconn.Auto, autoHubTransports)
	now := time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)
	silent := attempt[hubconn.Transport]{tried: autoHubTransports[1:], reached: certificate}
	require.True(t, c.learn(answered(mqtt, ws), now))
	for range 5 { // the other says nothing for a while, so that the preferred one has its turn
		now = now.Add(time.Hour)
		for range silentTries {
			require.False(t, c.learn(silent, now))
		}
		require.Equal(t, mqtt, c.plan(now, 0).order[0])
		require.False(t, c.learn(answered(mqtt, ws), now), "which is no news within the day")
		require.Equal(t, ws, c.plan(now, 0).order[0])
	}
	now = now.Add(preferredAfter)
	require.Equal(t, mqtt, c.plan(now, 0).order[0])
	require.False(t, c.learn(answered(ws), now), "of an attempt that began before the day was over")
	require.Equal(t, mqtt, c.plan(now, 0).order[0])
	require.True(t, c.learn(answered(mqtt, ws), now))
	require.Equal(t, ws, c.plan(now, 0).order[0])
	require.True(t, c.learn(answered(mqtt), now))
	require.Equal(t, mqtt, c.plan(now, 0).order[0])
}

func TestConnectionsThatBreakNowAndThenAreNoReasonForAnotherTransport(t *testing.T) {
	c := choiceOf("hub", hubconn.Auto, hubconn.Auto, autoHubTransports)
	for range silentTries {
		c.broke()
		c.broke()
		require.False(t, c.lasted(time.Now()))
	}
	require.Equal(t, hubconn.MQTT, c.plan(time.Now(), 0).order[0])
	named := choiceOf("hub", hubconn.MQTT, hubconn.Auto, autoHubTransports)
	for range silentTries {
		named.broke()
	}
	require.False(t, named.lasted(time.Now()))
	require.Equal(t, []hubconn.Transport{hubconn.MQTT}, named.plan(time.Now(), 0).order)
}
