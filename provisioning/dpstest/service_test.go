// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestOperatorKeepsIndividualEnrollments(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		made := o.must("PUT", "/enrollments/Dev-1", symmetric("Dev-1", document{
			"deviceId": "toaster", "capabilities": document{"iotEdge": true},
			"initialTwin": document{"tags": document{"site": "a"}, "properties": document{
				"desired": document{"on": true},
			}},
		}))
		assert.Equal(t, "enabled", made["provisioningStatus"])
		assert.Equal(
			t, key1, made["attestation"].(document)["symmetricKey"].(document)["primaryKey"],
		)
		etag := made["etag"].(string)
		assert.Regexp(t, `^"[0-9a-f-]+"$`, etag, "quoted, as the service writes it")

		read := o.must("GET", "/enrollments/dev-1", nil)
		assert.Equal(
			t, document{"type": "symmetricKey"}, read["attestation"], "whoever reads sees no key",
		)
		assert.Equal(t, etag, read["etag"])
		assert.Equal(t, document{"site": "a"}, read["initialTwin"].(document)["tags"])
		proof := o.must("POST", "/enrollments/dev-1/attestationmechanism", nil)
		assert.Equal(
			t, key2, proof["symmetricKey"].(document)["secondaryKey"], "but whoever asks for it",
		)

		// What was read, changed and written back keeps the keys.
		time.Sleep(time.Minute)
		read["provisioningStatus"] = "disabled"
		changed := o.must("PUT", "/enrollments/dev-1", read, "If-Match", etag)
		assert.Equal(t, "disabled", changed["provisioningStatus"])
		assert.Equal(
			t, key1, changed["attestation"].(document)["symmetricKey"].(document)["primaryKey"],
		)
		assert.Equal(t, made["createdDateTimeUtc"], changed["createdDateTimeUtc"])
		assert.NotEqual(t, made["lastUpdatedDateTimeUtc"], changed["lastUpdatedDateTimeUtc"])
		assert.NotEqual(t, etag, changed["etag"])
		assert.Equal(
			t, "disabled", w.assigned(dpstest.HTTPS, "dev-1", version, byKey("dev-1", key1)).Status,
		)

		o.refused(412, "DELETE", "/enrollments/dev-1", nil, "If-Match", etag)
		status, body := o.do(
			"DELETE", "/enrollments/dev-1", nil, "If-Match", changed["etag"].(string),
		)
		assert.Equal(t, 204, status)
		assert.Empty(t, body)
		assert.Equal(t, 404201, o.refused(404, "GET", "/enrollments/dev-1", nil))
		assert.Equal(t, 404201, o.refused(404, "DELETE", "/enrollments/dev-1", nil))
		assert.Equal(
			t, 404201, o.refused(404, "POST", "/enrollments/dev-1/attestationmechanism", nil),
		)
	})
}

func TestReplacingAnEnrollmentTakesItsETag(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		etag := o.must("PUT", "/enrollments/dev", symmetric("dev"))["etag"].(string)
		o.refused(409, "PUT", "/enrollments/dev", symmetric("dev"))
		o.refused(412, "PUT", "/enrollments/dev", symmetric("dev"), "If-Match", `"other"`)
		o.refused(412, "PUT", "/enrollments/new", symmetric("new"), "If-Match", "*")
		for _, match := range []string{etag, "*", `"*"`} {
			o.must("PUT", "/enrollments/dev", symmetric("dev"), "If-Match", match)
			etag = o.must("GET", "/enrollments/dev", nil)["etag"].(string)
		}
		o.must("PUT", "/enrollments/dev", symmetric("dev"), "If-Match", strings.Trim(etag, `"`))
	})
	inBubble(t, dpstest.Config{OverwriteEnrollments: true}, func(w *world) {
		o := w.service()
		o.must("PUT", "/enrollments/dev", symmetric("dev"))
		o.must("PUT", "/enrollments/dev", symmetric("dev"))
		o.refused(412, "PUT", "/enrollments/dev", symmetric("dev"), "If-Match", `"other"`)
	})
}

func TestOperatorKeepsEnrollmentGroups(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		ca := simnet.NewCA("Plant", time.Now())
		made := o.must("PUT", "/enrollmentGroups/plant", document{
			"enrollmentGroupId": "plant",
			"attestation": document{"type": "x509", "x509": document{
				"signingCertificates": document{
					"primary": document{"certificate": string(ca.PEM())},
				},
			}},
			"reprovisionPolicy": document{"updateHubAssignment": false},
		})
		assert.Equal(
			t, document{"updateHubAssignment": false, "migrateDeviceData": true},
			made["reprovisionPolicy"],
		)
		read := o.must("GET", "/enrollmentgroups/plant", nil)
		certificates := read["attestation"].(document)["x509"].(document)["signingCertificates"]
		primary := certificates.(document)["primary"].(document)
		assert.NotContains(t, primary, "certificate")
		assert.Contains(t, primary["info"].(document)["subjectName"], "Plant")

		// The certificate survives being written back without itself.
		o.must("PUT", "/enrollmentGroups/plant", read, "If-Match", read["etag"].(string))
		w.assigned(dpstest.MQTT, "dev-9", version, byCertificate(ca.Device("dev-9")))

		var records []document
		_, answer := o.do("POST", "/registrations/plant/query", document{"query": "SELECT *"})
		require.NoError(t, json.Unmarshal(answer, &records))
		require.Len(t, records, 1)
		assert.Equal(t, "dev-9", records[0]["registrationId"])
		assert.Equal(t, hubA, records[0]["assignedHub"])

		record := o.must("GET", "/registrations/dev-9", nil)
		assert.Equal(t, "initialAssignment", record["substatus"])
		o.must("DELETE", "/enrollmentGroups/plant", nil)
		_, answer = o.do("POST", "/registrations/plant/query", nil)
		require.NoError(t, json.Unmarshal(answer, &records))
		assert.Len(t, records, 1, "the records outlive their group")
		o.refused(412, "DELETE", "/registrations/dev-9", nil, "If-Match", "other")
		o.must("DELETE", "/registrations/dev-9", nil, "If-Match", record["etag"].(string))
		o.refused(404, "GET", "/registrations/dev-9", nil)
		o.refused(404, "DELETE", "/registrations/dev-9", nil)
		o.refused(404, "POST", "/registrations/plant/query", nil)
	})
}

func TestQueriesComeInPages(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		for i := range 7 {
			w.enroll(fmt.Sprintf("dev-%d", i))
		}
		var all []string
		token := ""
		for range 10 {
			headers := []string{"x-ms-max-item-count", "3"}
			if token != "" {
				headers = append(headers, "x-ms-continuation", token)
			}
			status, answer := o.do(
				"POST", "/enrollments/query", document{"query": "select * from enrollments"},
				headers...,
			)
			require.Equal(t, 200, status)
			assert.Equal(t, "Enrollment", o.header.Get("x-ms-item-type"))
			var page []document
			require.NoError(t, json.Unmarshal(answer, &page))
			for _, e := range page {
				all = append(all, e["registrationId"].(string))
				assert.NotContains(t, e["attestation"], "symmetricKey")
			}
			if token = o.header.Get("x-ms-continuation"); token == "" {
				break
			}
			assert.Len(t, page, 3)
			w.enroll("dev-0a") // behind the page: it is not seen, and shifts nothing
		}
		assert.Equal(
			t, []string{"dev-0", "dev-1", "dev-2", "dev-3", "dev-4", "dev-5", "dev-6"}, all,
		)

		_, answer := o.do("POST", "/enrollmentGroups/query", document{"query": "*"})
		assert.JSONEq(t, `[]`, string(answer))
		assert.Equal(t, "EnrollmentGroup", o.header.Get("x-ms-item-type"))
		o.must("PUT", "/enrollmentGroups/g", document{
			"attestation": document{"type": "symmetricKey"},
		})
		_, answer = o.do("POST", "/registrations/g/query", nil)
		assert.JSONEq(t, `[]`, string(answer))
		assert.Equal(t, "DeviceRegistration", o.header.Get("x-ms-item-type"))
		for query, want := range map[string]int{
			"SELECT * FROM enrollments WHERE registrationId = 'dev-3'":                        1,
			"SELECT TOP 3 * FROM enrollments WHERE provisioningStatus = 'enabled'":            3,
			"SELECT * FROM enrollments WHERE attestation.type = 'x509'":                       0,
			"SELECT * FROM enrollments WHERE registrationId IN ['dev-1', 'dev-2'] AND a != 1": 0,
			"SELECT * FROM enrollments WHERE NOT is_defined(deviceId)":                        8,
		} {
			_, answer := o.do("POST", "/enrollments/query", document{"query": query})
			var page []document
			require.NoError(t, json.Unmarshal(answer, &page), query)
			assert.Len(t, page, want, query)
		}
		for _, bad := range []string{
			"SELECT registrationId FROM enrollments", "SELECT * FROM devices",
			"SELECT * FROM enrollments WHERE a LIKE 'b'", "SELECT COUNT() AS n FROM enrollments",
		} {
			o.refused(400, "POST", "/enrollments/query", document{"query": bad})
		}
		o.refused(400, "POST", "/enrollments/query", nil, "x-ms-continuation", "%%%")
		o.refused(400, "POST", "/enrollments/query", "[]")
	})
}

func TestBulkOperations(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		bulk := func(mode string, list ...document) document {
			return o.must("POST", "/enrollments", document{"mode": mode, "enrollments": list})
		}
		codes := func(m document) map[string]int {
			found := map[string]int{}
			for _, e := range m["errors"].([]any) {
				e := e.(document)
				assert.NotEmpty(t, e["errorStatus"])
				found[e["registrationId"].(string)] = int(e["errorCode"].(float64)) / 1000
			}
			assert.Equal(t, len(found) == 0, m["isSuccessful"])
			return found
		}
		assert.Empty(t, codes(bulk("create", symmetric("one"), symmetric("two"))))
		assert.Equal(t, map[string]int{"two": 409, "not/valid": 400}, codes(
			bulk("create", symmetric("two"), symmetric("three"), symmetric("not/valid")),
		))
		assert.Equal(t, map[string]int{"four": 404}, codes(bulk(
			"update", symmetric("one", document{"provisioningStatus": "disabled"}),
			symmetric("four"),
		)))
		one, _ := w.dps.Enrollment("one")
		assert.Equal(t, dpstest.Disabled, one.ProvisioningStatus)
		assert.Equal(t, map[string]int{"two": 412, "three": 412}, codes(bulk(
			"updateIfMatchETag", symmetric("one", document{"etag": one.ETag}),
			symmetric("two", document{"etag": "old"}), symmetric("three"),
		)))
		assert.Equal(t, map[string]int{"four": 404, "three": 412}, codes(bulk(
			"delete", document{"registrationId": "one"}, document{"registrationId": "four"},
			document{"registrationId": "three", "etag": "old"},
		)))
		_, ok := w.dps.Enrollment("one")
		assert.False(t, ok)

		o.refused(400, "POST", "/enrollments", document{"mode": "create"})
		o.refused(400, "POST", "/enrollments", document{
			"mode": "create", "enrollments": make([]document, 11),
		})
		o.refused(400, "POST", "/enrollments", document{
			"mode": "burn", "enrollments": []document{symmetric("x")},
		})
		groups := o.must("POST", "/enrollmentGroups", document{
			"mode": "create", "enrollmentGroups": []document{
				{"enrollmentGroupId": "g", "attestation": document{"type": "symmetricKey"}},
				{"enrollmentGroupId": "h", "attestation": document{"type": "tpm", "tpm": document{"endorsementKey": "AA"}}},
			},
		})
		assert.Equal(t, "h", groups["errors"].([]any)[0].(document)["enrollmentGroupId"])
		proof := o.must("POST", "/enrollmentgroups/g/attestationmechanism", nil)
		assert.NotEmpty(t, proof["symmetricKey"].(document)["primaryKey"], "made by the service")
	})
}

func TestOperatorsNeedTheOwnersKey(t *testing.T) {
	inBubble(t, dpstest.Config{ServiceKey: key1}, func(w *world) {
		w.enroll("dev")
		host := "0ne00000001.azure-devices-provisioning.net"
		assert.Equal(
			t,
			"HostName="+host+";SharedAccessKeyName=provisioningserviceowner;SharedAccessKey="+key1,
			w.dps.ServiceConnectionString(),
		)
		soon := time.Now().Add(time.Minute)
		for name, c := range map[string]struct {
			host, token string
			ok          bool
		}{
			"owner":              {host, ownerToken(host, "provisioningserviceowner", key1, soon), true},
			"at global endpoint": {dpstest.GlobalEndpoint, ownerToken(dpstest.GlobalEndpoint, "provisioningserviceowner", key1, soon), true},
			"below the host":     {host, ownerToken(host+"/enrollments", "provisioningserviceowner", key1, soon), true},
			"no token":           {host, "", false},
			"bearer token":       {host, "Bearer abc", false},
			"another key":        {host, ownerToken(host, "provisioningserviceowner", key2, soon), false},
			"another policy":     {host, ownerToken(host, "registration", key1, soon), false},
			"no policy":          {host, strings.TrimSuffix(ownerToken(host, "", key1, soon), "&skn="), false},
			"another host":       {host, ownerToken("else.azure-devices-provisioning.net", "provisioningserviceowner", key1, soon), false},
			"expired":            {host, ownerToken(host, "provisioningserviceowner", key1, time.Now().Add(-time.Second)), false},
			"a device's":         {host, token("dev", key1), false},
		} {
			o := w.service()
			o.host, o.token = c.host, c.token
			if c.ok {
				o.must("GET", "/enrollments/dev", nil)
			} else {
				assert.Equal(t, 401000, o.refused(401, "GET", "/enrollments/dev", nil), name)
				assert.NotEmpty(t, o.header.Get("x-ms-error-code"))
			}
		}
	})
}

func TestOperatorsMistakes(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		for name, c := range map[string]struct {
			status       int
			method, path string
			body         any
		}{
			"no body":              {400, "PUT", "/enrollments/dev", nil},
			"not JSON":             {400, "PUT", "/enrollments/dev", "{"},
			"wrong type":           {400, "PUT", "/enrollments/dev", symmetric("dev", document{"provisioningStatus": 3})},
			"IDs differ":           {400, "PUT", "/enrollments/dev", symmetric("else")},
			"bad status":           {400, "PUT", "/enrollments/dev", symmetric("dev", document{"provisioningStatus": "paused"})},
			"bad allocation":       {400, "PUT", "/enrollments/dev", symmetric("dev", document{"allocationPolicy": "nearest"})},
			"static without a hub": {400, "PUT", "/enrollments/dev", symmetric("dev", document{"allocationPolicy": "static"})},
			"custom, no webhook":   {400, "PUT", "/enrollments/dev", symmetric("dev", document{"allocationPolicy": "custom"})},
			"custom, no URL": {400, "PUT", "/enrollments/dev", symmetric("dev", document{
				"allocationPolicy": "custom", "customAllocationDefinition": document{"webhookUrl": "ftp://x", "apiVersion": "2021-10-01"},
			})},
			"custom, old version": {400, "PUT", "/enrollments/dev", symmetric("dev", document{
				"allocationPolicy": "custom", "customAllocationDefinition": document{"webhookUrl": "https://x/y", "apiVersion": "2017-11-15"},
			})},
			"bad key": {400, "PUT", "/enrollments/dev", symmetric("dev", document{
				"attestation": document{
					"type": "symmetricKey", "symmetricKey": document{"primaryKey": "!"},
				},
			})},
			"no attestation":  {400, "PUT", "/enrollments/dev", symmetric("dev", document{"attestation": document{"type": "none"}})},
			"tpm group":       {400, "PUT", "/enrollmentGroups/g", document{"attestation": document{"type": "tpm", "tpm": document{"endorsementKey": "AA"}}}},
			"method":          {405, "PATCH", "/enrollments/dev", nil},
			"method of all":   {405, "GET", "/enrollments", nil},
			"method of proof": {405, "GET", "/enrollments/dev/attestationmechanism", nil},
			"method of query": {405, "GET", "/registrations/g/query", nil},
			"record written":  {405, "PUT", "/registrations/dev", document{}},
			"nothing there":   {404, "GET", "/enrollments/dev/keys", nil},
			"nor there":       {404, "GET", "/registrations", nil},
			"too large":       {413, "PUT", "/enrollments/dev", strings.Repeat(" ", 1<<20+1)},
		} {
			code := o.refused(c.status, c.method, c.path, c.body)
			assert.Equal(t, c.status, code/1000, name)
		}
		for _, v := range []string{"", "2016-01-01"} {
			o.version = v
			o.refused(400, "GET", "/enrollments/dev", nil)
		}
		// what the SDKs send
		for _, v := range []string{"2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01"} {
			o.version = v
			o.refused(404, "GET", "/enrollments/dev", nil)
		}
	})
}

// The service does not guess how a device is to prove who it is.
func TestEnrollmentsWithoutAttestationAreNotKept(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		for _, attestation := range []any{nil, document{}, document{"type": ""}, "left out"} {
			body := document{"provisioningStatus": "enabled"}
			if attestation != "left out" {
				body["attestation"] = attestation
			}
			for _, path := range []string{"/enrollments/dev", "/enrollmentGroups/dev"} {
				o.refused(400, "PUT", path, body)
				o.refused(404, "GET", path, nil)
			}
		}
		result := o.must("POST", "/enrollments", document{
			"mode": "create", "enrollments": []any{document{"registrationId": "dev"}},
		})
		assert.Equal(t, false, result["isSuccessful"])
		o.refused(404, "GET", "/enrollments/dev", nil)

		// Whoever asks for keys gets them, and an enrollment that exists is replaced whole.
		o.must("PUT", "/enrollments/dev", document{"attestation": document{"type": "symmetricKey"}})
		o.refused(400, "PUT", "/enrollments/dev", document{}, "If-Match", "*")
		e, ok := w.dps.Enrollment("dev")
		require.True(t, ok)
		assert.NotEmpty(t, e.Attestation.SymmetricKey.PrimaryKey, "and not changed")
	})
}

func TestOperatorsAreThrottledApartFromDevices(t *testing.T) {
	inBubble(t, dpstest.Config{ServiceOperationsPerMinute: 2}, func(w *world) {
		o := w.service()
		o.must("PUT", "/enrollments/dev", symmetric("dev"))
		o.must("GET", "/enrollments/dev", nil)
		assert.Equal(t, 429001, o.refused(429, "GET", "/enrollments/dev", nil))
		assert.Equal(t, "60", o.header.Get("Retry-After"))
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		time.Sleep(time.Minute)
		o.must("GET", "/enrollments/dev", nil)
		assert.Equal(t, 4, w.dps.Count(dpstest.Service))
		assert.Equal(t, 2, w.dps.Count(), "what is counted without a kind is devices' requests")
	})
}

func TestFaultsSpareOperatorsUnlessTheyAreMeant(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		w.dps.Inject(dpstest.Fault{Status: 503})
		o.must("PUT", "/enrollments/dev", symmetric("dev"))
		w.dps.ClearFaults()
		w.dps.Inject(dpstest.Fault{On: dpstest.Service, Status: 503, RetryAfter: "7"})
		status, _ := o.do("GET", "/enrollments/dev", nil)
		assert.Equal(t, 503, status)
		assert.Equal(t, "7", o.header.Get("Retry-After"))
	})
}

func TestTPMRecordsAreKept(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		o := w.service()
		o.must("PUT", "/enrollments/dev", document{"registrationId": "dev", "attestation": document{
			"type": "tpm",
			"tpm":  document{"endorsementKey": "AToAAQ==", "storageRootKey": "AToAAQ=="},
		}})
		assert.Equal(t, document{"endorsementKey": "AToAAQ==", "storageRootKey": "AToAAQ=="},
			o.must("POST", "/enrollments/dev/attestationmechanism", nil)["tpm"])
		assert.Equal(
			t, "tpm", o.must("GET", "/enrollments/dev", nil)["attestation"].(document)["type"],
		)
	})
}

func TestServiceOverLoopback(t *testing.T) {
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	w := populate(t, n, dpstest.Config{})
	o := w.service()
	o.must("PUT", "/enrollments/dev", symmetric("dev"))
	// By address, as a client that has no name for the server reaches it.
	o.host = n.HTTPSAddr()
	o.client = &http.Client{
		Transport: &http.Transport{TLSClientConfig: n.TLSConfig(), DisableKeepAlives: true},
	}
	assert.Equal(t, "dev", o.must("GET", "/enrollments/dev", nil)["registrationId"])
}
