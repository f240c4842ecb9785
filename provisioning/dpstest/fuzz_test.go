// SPDX-License-Identifier: Apache-2.0

package dpstest

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

func FuzzUserName(f *testing.F) {
	for _, seed := range []string{
		"0ne00000001/registrations/dev/api-version=2019-03-31&ClientVersion=a%2Fb",
		"0ne00000001/registrations/a%3Ab/?api-version=1", "//registrations//",
		"x/registrations/%zz/api-version", "",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, ok := parseUserName(text)
		if !ok {
			if u != (userName{}) {
				t.Fatalf("refused, but read as %+v", u)
			}
			return
		}
		if u.scope == "" || u.registrationID == "" ||
			!strings.HasPrefix(text, u.scope+"/registrations/") {
			t.Fatalf("%q read as %+v", text, u)
		}
		if validID(u.registrationID) && !strings.ContainsAny(u.version, "/&") &&
			!strings.Contains(u.scope, "/registrations/") {
			again, ok := parseUserName(
				u.scope + "/registrations/" + u.registrationID + "/api-version=" + u.version +
					"&ClientVersion=" + u.client,
			)
			if !ok || again != u {
				t.Fatalf("%q read as %+v, then as %+v", text, u, again)
			}
		}
	})
}

// What a client says it is never gets into the log but for a known product and its version.
func FuzzClient(f *testing.F) {
	for _, seed := range []string{
		"1.2.8", "azure-iot-provisioning-device/1.3.3", "prov_device_client%2f1.0",
		"Microsoft.Azure.Devices.Provisioning.Client/1.1.0 (a; b)", "%zz", "/1.2.3", "\n/1.2.3\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, client string) {
		for _, version := range []string{versionSticky, versionPayload} {
			note := new(terms).note(client, version)
			if len(note) > 400 || strings.ContainsFunc(note, func(r rune) bool {
				return r < ' ' || r > '~'
			}) {
				t.Fatalf("%q makes %q", client, note)
			}
		}
	})
}

func FuzzTopic(f *testing.F) {
	for _, seed := range []string{
		"$dps/registrations/PUT/iotdps-register/?$rid=1",
		"$dps/registrations/GET/iotdps-get-operationstatus/?$rid=2&operationId=5.a.b",
		"$dps/registrations/GET/iotdps-get-operationstatus/?operationId=%zz&$RID=",
		"$dps/registrations/res/200/?$rid=1",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		read, ok := parseTopic(text)
		if !ok {
			return
		}
		if read.op != Register && read.op != Poll {
			t.Fatalf("%q read as %+v", text, read)
		}
		if !strings.Contains(text, read.requestID) {
			t.Fatalf("%q does not hold request ID %q", text, read.requestID)
		}
		if utf8.ValidString(text) &&
			!utf8.ValidString(responseTopic(200, read.requestID, "3", false)) {
			t.Fatalf("%q is answered on a topic that is not UTF-8", text)
		}
	})
}

func FuzzRoute(f *testing.F) {
	for _, seed := range []string{
		"/0ne00000001/registrations/dev/register?api-version=2021-06-01", "/s/registrations/a%2Fb",
		"/s/registrations/d/operations/5.a.b", "/%",
	} {
		f.Add("PUT", seed)
		f.Add("GET", seed)
	}
	f.Fuzz(func(t *testing.T, method, text string) {
		u, err := url.Parse(text)
		if err != nil || method == "" {
			return
		}
		c := route(method, u)
		want := map[Op]string{Register: "PUT", Poll: "GET", Lookup: "POST", Clock: method}[c.op]
		if want == "" || want != method {
			t.Fatalf("%s %q is taken for %q", method, text, c.op)
		}
	})
}

func FuzzRegistrationBody(f *testing.F) {
	for _, seed := range []string{
		"", " ", `{"registrationId":"dev"}`, `{"payload":{"a":1}}`,
		`{"registrationId":null,"payload":null}`, `{"csr":"MIIB"}`,
		`{"tpm":{"endorsementKey":"x"}}`, `[]`, `{"registrationId":"DEV","payload":"\u2028"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, op := range []Op{Register, Lookup} {
			c := &call{op: op, registrationID: "dev", version: "2021-06-01", body: data}
			problem := c.read()
			if problem != "" && strings.Contains(problem, "\n") {
				t.Fatalf("%q", problem)
			}
			if c.payload != nil && !json.Valid(c.payload) {
				t.Fatalf("payload %q is not JSON", c.payload)
			}
		}
	})
}

func FuzzEnrollmentJSON(f *testing.F) {
	f.Add([]byte(`{"registrationId":"dev","attestation":{"type":"symmetricKey","symmetricKey":{"primaryKey":"","secondaryKey":""}},
		"reprovisionPolicy":{"migrateDeviceData":false},"iotHubs":["a"],"initialTwin":{"tags":{"a":1},"properties":{"desired":{}}}}`))
	f.Add([]byte(
		`{"registrationId":"dev","attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"LS0tLS0="}}}}}`,
	))
	f.Fuzz(func(t *testing.T, data []byte) {
		var e IndividualEnrollment
		if json.Unmarshal(data, &e) != nil {
			return
		}
		for _, group := range []bool{false, true} {
			attestation, err := e.Attestation.normalize(group)
			if err != nil {
				continue
			}
			again, err := attestation.normalize(group)
			if err != nil || again.Type != attestation.Type {
				t.Fatalf("accepted once, then: %v", err)
			}
		}
		if _, err := json.Marshal(e); err != nil {
			t.Fatal(err)
		}
	})
}
