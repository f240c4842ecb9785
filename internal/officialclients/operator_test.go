// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// operator returns calls of the official client of DPS's service API.
func (w *world) operator(
	t *testing.T, node *driver,
) (call func(result any, method string, args ...any), try func(method string, args ...any) error) {
	try = func(method string, args ...any) error {
		return node.try(
			"provisioning",
			with{"connectionString": w.dps.ServiceConnectionString(), "call": method, "args": args},
			nil,
		)
	}
	call = func(result any, method string, args ...any) {
		t.Helper()
		node.must(
			t, "provisioning",
			with{"connectionString": w.dps.ServiceConnectionString(), "call": method, "args": args},
			result,
		)
	}
	return call, try
}

func TestOfficialServiceClientManagesEnrollments(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	call, try := w.operator(t, node)

	var e map[string]any
	call(&e, "createOrUpdateIndividualEnrollment", with{
		"registrationId": "sensor:1", "deviceId": "sensor-1",
		"attestation": with{"type": "symmetricKey"},
		"initialTwin": with{
			"tags": with{"site": "north"}, "properties": with{"desired": with{"target": 20}},
		},
	})
	assert.Equal(t, "enabled", e["provisioningStatus"])
	assert.NotEmpty(t, e["etag"])
	keys := func() (primary string) {
		var m map[string]any
		call(&m, "getIndividualEnrollmentAttestationMechanism", "sensor:1")
		require.Equal(t, "symmetricKey", m["type"])
		primary, _ = m["symmetricKey"].(map[string]any)["primaryKey"].(string)
		return primary
	}
	raw, err := base64.StdEncoding.DecodeString(keys())
	require.NoError(t, err)
	assert.Len(t, raw, 64, "the service makes the keys")

	// Changed under its ETag; the one of before is refused.
	stale := e["etag"]
	e["allocationPolicy"], e["iotHubs"] = "static", []string{hostB}
	e["reprovisionPolicy"] = with{"updateHubAssignment": true, "migrateDeviceData": false}
	call(&e, "createOrUpdateIndividualEnrollment", e)
	assert.Equal(t, "static", e["allocationPolicy"])
	e["etag"] = stale
	assert.Equal(t, 412, clientErr(t, try("createOrUpdateIndividualEnrollment", e)).Status)

	var got map[string]any
	call(&got, "getIndividualEnrollment", "sensor:1")
	assert.Equal(t, []any{hostB}, got["iotHubs"])
	assert.Equal(
		t, map[string]any{"updateHubAssignment": true, "migrateDeviceData": false},
		got["reprovisionPolicy"],
	)

	// What the operator wrote is what the device meets.
	var registered state
	node.must(t, "register", w.registering("sensor:1", "mqtt", with{"key": keys()}), &registered)
	assert.Equal(t, hostB, registered.AssignedHub)
	assert.Equal(t, "sensor-1", registered.DeviceID)
	var record map[string]any
	call(&record, "getDeviceRegistrationState", "sensor:1")
	assert.Equal(t, "assigned", record["status"])
	assert.Equal(t, hostB, record["assignedHub"])
	require.NoError(t, try("deleteDeviceRegistrationState", "sensor:1"))
	assert.Equal(t, 404, clientErr(t, try("getDeviceRegistrationState", "sensor:1")).Status)

	require.NoError(t, try("deleteIndividualEnrollment", "sensor:1"))
	assert.Equal(t, 404, clientErr(t, try("getIndividualEnrollment", "sensor:1")).Status)
	assert.Equal(t, 404, clientErr(t, try("deleteIndividualEnrollment", "sensor:1")).Status)
}

func TestOfficialServiceClientManagesGroups(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	call, try := w.operator(t, node)
	factory := simnet.NewCA("Factory", w.network.Now())

	var g map[string]any
	call(&g, "createOrUpdateEnrollmentGroup", with{
		"enrollmentGroupId": "line-1",
		"attestation": with{"type": "x509", "x509": with{
			"signingCertificates": with{"primary": with{"certificate": string(factory.PEM())}},
		}},
	})
	var registered state
	node.must(
		t, "register", w.registering("unit-1", "ws", pemPair(t, factory.Device("unit-1"))),
		&registered,
	)
	assert.Equal(t, "assigned", registered.Status)

	var records []map[string]any
	node.must(t, "provisioningQuery", with{
		"connectionString": w.dps.ServiceConnectionString(),
		"call":             "createEnrollmentGroupDeviceRegistrationStateQuery",
		"args":             []any{with{"query": "SELECT *"}, "line-1"},
	}, &records)
	require.Len(t, records, 1)
	assert.Equal(t, "unit-1", records[0]["registrationId"])

	g["provisioningStatus"] = "disabled"
	call(&g, "createOrUpdateEnrollmentGroup", g)
	err := clientErr(t, node.try(
		"register", w.registering("unit-2", "ws", pemPair(t, factory.Device("unit-2"))), nil,
	))
	// what the client makes of status "disabled"
	assert.Equal(t, "SyntaxError", err.Name, "%v", err)

	require.NoError(t, try("deleteEnrollmentGroup", g))
	assert.Equal(t, 404, clientErr(t, try("getEnrollmentGroup", "line-1")).Status)
}

func TestOfficialServiceClientWorksInBulkAndReadsPages(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	call, _ := w.operator(t, node)
	const n = 7
	var enrollments []with
	for i := range n {
		enrollments = append(enrollments, with{
			"registrationId": fmt.Sprint("bulk-", i), "attestation": with{"type": "symmetricKey"},
		})
	}
	var result map[string]any
	call(&result, "runBulkEnrollmentOperation", with{"mode": "create", "enrollments": enrollments})
	assert.Equal(t, true, result["isSuccessful"])

	var found []map[string]any
	node.must(t, "provisioningQuery", with{
		"connectionString": w.dps.ServiceConnectionString(),
		"call":             "createIndividualEnrollmentQuery",
		"args":             []any{with{"query": "SELECT *"}, 3},
	}, &found)
	assert.Len(t, found, n)
	node.must(t, "provisioningQuery", with{
		"connectionString": w.dps.ServiceConnectionString(), "call": "createEnrollmentGroupQuery",
		"args": []any{with{"query": "SELECT *"}},
	}, &found)
	assert.Empty(t, found)

	call(&result, "runBulkEnrollmentOperation", with{"mode": "delete", "enrollments": enrollments})
	assert.Equal(t, true, result["isSuccessful"])
	node.must(t, "provisioningQuery", with{
		"connectionString": w.dps.ServiceConnectionString(),
		"call":             "createIndividualEnrollmentQuery",
		"args":             []any{with{"query": "SELECT *"}},
	}, &found)
	assert.Empty(t, found)
}

func TestOfficialServiceClientWithAWrongKeyIsRefused(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	err := clientErr(t, node.try("provisioning", with{
		"connectionString": "HostName=" + names[1] +
			";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey=" + key("another"),
		"call": "getIndividualEnrollment", "args": []any{"x"},
	}, nil))
	assert.Equal(t, 401, err.Status, "%v", err)
}
