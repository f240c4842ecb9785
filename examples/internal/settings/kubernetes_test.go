// SPDX-License-Identifier: Apache-2.0

package settings

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVariablesOfAServiceOfTheProgramsNameAreNoMistake(t *testing.T) {
	s := New("sensor")
	s.PassOverKubernetes()
	require.NoError(t, s.Read([]string{"-id-scope", "0ne00000001"}, []string{
		"SENSOR_SERVICE_HOST=10.0.0.11", "SENSOR_SERVICE_PORT=8080",
		"SENSOR_SERVICE_PORT_HTTP=8080", "SENSOR_PORT=tcp://10.0.0.11:8080",
		"SENSOR_PORT_8080_TCP=tcp://10.0.0.11:8080", "SENSOR_PORT_8080_TCP_PROTO=tcp",
		"SENSOR_PORT_8080_TCP_PORT=8080", "SENSOR_PORT_8080_TCP_ADDR=10.0.0.11",
		"SENSOR_MQTT_SERVICE_HOST=10.0.0.12", "SENSOR_MQTT_PORT=tcp://10.0.0.12:1883",
	}))
	for _, mistake := range []string{
		"SENSOR_PORT=8080", "SENSOR_HTTP_PORT=8080", "SENSOR_PORTS=1", "SENSOR_SERVICE=1",
		"SENSOR_PORT_TCP=tcp://10.0.0.11:8080",
	} {
		s := New("sensor")
		s.PassOverKubernetes()
		assert.ErrorContains(t, s.Read(nil, []string{mistake}), "is not a setting", mistake)
	}
}
