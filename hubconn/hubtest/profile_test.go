// SPDX-License-Identifier: Apache-2.0

package hubtest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAHubOfMQTT5SaysSoToAClientOf311(t *testing.T) {
	everywhere(t, func(t *testing.T, h *Hub, transport string) {
		assert.Equal(t, ProfileClassic, h.ConnectionProfile())
		for _, profile := range []string{ProfileMQTTV5, "MqttV5"} { // early builds wrote it so
			h.SetConnectionProfile(profile)
			assert.Equal(t, profile, h.ConnectionProfile())
			assert.EqualValues(t, 1, device(t, h, "dev1").connect(transport))
			assert.Contains(t, last(t, h).Reason, "MQTT 5")
			assert.EqualValues(t, 1, device(t, h, "nobody").connect(transport), "whoever it is")
			assert.False(t, h.Connected("dev1"))
		}
		for _, profile := range []string{"", ProfileClassic, "Classic", "quantum"} {
			h.SetConnectionProfile(profile)
			require.Zero(t, device(t, h, "dev1").connect(transport), profile)
		}
		h.SetConnectionProfile("")
		assert.Equal(t, ProfileClassic, h.ConnectionProfile())
	})
}
