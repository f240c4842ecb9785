// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The program, on its default ports and as it starts without a configuration; everything else is
// the official clients' doing.
func TestOperatorAndDeviceUseTheProgramByTheirOfficialClientsAlone(t *testing.T) {
	need(t)
	dir := t.TempDir()
	build := exec.Command(
		"go", "build", "-o", filepath.Join(dir, "simulator"), "../../examples/simulator",
	)
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	config := filepath.Join(dir, "simulator.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"limits":{"retryAfter":1}}`), 0o600))
	simulator := exec.Command(filepath.Join(dir, "simulator"), "-config", config)
	var stderr bytes.Buffer
	simulator.Stderr = &stderr
	stdout, err := simulator.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, simulator.Start())
	t.Cleanup(func() {
		assert.NoError(t, simulator.Process.Signal(os.Interrupt))
		stop := time.AfterFunc(patience, func() { _ = simulator.Process.Kill() })
		assert.NoError(t, simulator.Wait(), "%s", &stderr)
		stop.Stop()
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err)
	var ready struct {
		HTTPS, MQTT, IDScope, DPS, CA, ServiceConnectionString string
		HubConnectionStrings                                   map[string]string
	}
	require.NoError(t, json.Unmarshal(line, &ready))
	assert.Equal(t, "127.0.0.1:443", ready.HTTPS)
	assert.Equal(t, "127.0.0.1:8883", ready.MQTT)
	pem, err := os.ReadFile(ready.CA)
	require.NoError(t, err)
	node := newDriverTrusting(t, pem)

	enroll := func(hub string, enrollment with) (result with) {
		enrollment["allocationPolicy"], enrollment["iotHubs"] = dpstest.PolicyStatic, []string{hub}
		node.must(t, "provisioning", with{
			"connectionString": ready.ServiceConnectionString,
			"call":             "createOrUpdateIndividualEnrollment", "args": []any{enrollment},
		}, &result)
		return result
	}
	register := func() (s state) {
		node.must(t, "register", with{
			"host": ready.DPS, "idScope": ready.IDScope, "registrationId": "sensor-1",
			"transport": "mqtt", "key": key("sensor-1"),
		}, &s)
		return s
	}
	connect := func(hub string) {
		node.must(t, "connect", with{
			"name": hub, "transport": "mqtt",
			"connectionString": "HostName=" + hub + ";DeviceId=sensor-1;SharedAccessKey=" +
				key("sensor-1"),
		}, nil)
		node.must(t, "send", with{"name": hub, "body": `{"temperature":21}`}, nil)
	}
	type answer struct {
		Tags       map[string]any
		Properties struct{ Desired, Reported map[string]any }
	}
	registry := func(hub, call string, args ...any) (got answer, err error) {
		return got, node.try(
			"registry",
			with{"connectionString": ready.HubConnectionStrings[hub], "call": call, "args": args},
			&got,
		)
	}

	enrollment := enroll(hostA, with{
		"registrationId": "sensor-1",
		"attestation": with{"type": "symmetricKey", "symmetricKey": with{
			"primaryKey": key("sensor-1"), "secondaryKey": key("sensor-1b"),
		}},
		"reprovisionPolicy": with{"updateHubAssignment": true, "migrateDeviceData": true},
		"initialTwin": with{
			"tags": with{"site": "north"}, "properties": with{"desired": with{"target": 20}},
		},
	})
	s := register()
	require.Equal(t, []string{hostA, "initialAssignment"}, []string{s.AssignedHub, s.Substatus})
	connect(hostA)
	node.must(t, "twin", with{"name": hostA}, nil)
	node.must(t, "report", with{"name": hostA, "patch": with{"firmware": "1.1"}}, nil)
	_, err = registry(
		hostA, "updateTwin", "sensor-1", with{"properties": with{"desired": with{"target": 23}}},
		"*",
	)
	require.NoError(t, err)

	// The operator moves the device; it asks again, and finds itself at the other hub with all it
	// had.
	enroll(hostB, enrollment)
	s = register()
	require.Equal(t, []string{hostB, "deviceDataMigrated"}, []string{s.AssignedHub, s.Substatus})
	connect(hostB)
	moved, err := registry(hostB, "getTwin", "sensor-1")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"site": "north"}, moved.Tags)
	assert.Equal(t, 23.0, moved.Properties.Desired["target"])
	assert.Equal(t, "1.1", moved.Properties.Reported["firmware"])
	_, err = registry(hostA, "getTwin", "sensor-1")
	assert.Equal(t, 404, clientErr(t, err).Status)
}
