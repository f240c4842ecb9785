// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// restart saves a service with its hubs, and loads the state into a new one on a network of its
// own.
func (w *world) restart() (*world, []byte) {
	t := w.t
	var saved bytes.Buffer
	require.NoError(t, w.dps.Save(&saved))
	again := newWorld(t, dpstest.Config{})
	again.dps.Link(again.b)
	require.NoError(t, again.dps.Load(bytes.NewReader(saved.Bytes())))
	return again, saved.Bytes()
}

func TestStateSurvivesARestart(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		ca := simnet.NewCA("Plant", time.Now())
		w.dps.AddCA("plant-root", ca.Certificate())
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) {
			e.ReprovisionPolicy, e.AllocationPolicy, e.IoTHubHostName = policy(true, true),
				dpstest.PolicyStatic, hubA
			e.InitialTwin = &dpstest.InitialTwin{Tags: document{"site": "x"}}
		})
		require.NoError(t, w.dps.EnrollGroup(dpstest.EnrollmentGroup{
			EnrollmentGroupID: "plant", AllocationPolicy: dpstest.PolicyStatic,
			IoTHubHostName: hubB,
			Attestation: dpstest.Attestation{
				X509: &dpstest.X509{CAReferences: &dpstest.CAReferences{Primary: "plant-root"}},
			},
		}))
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		w.assigned(dpstest.HTTPS, "cam", version, byCertificate(ca.Device("cam")))
		twin, _ := w.a.Twin("dev")
		twin.Reported, twin.ReportedVersion = document{"temperature": 20.5}, 2
		require.NoError(t, w.a.SetTwin("dev", twin))
		enrollment, _ := w.dps.Enrollment("dev")
		connection := w.dps.ServiceConnectionString()

		again, saved := w.restart()
		kept, ok := again.dps.Enrollment("dev")
		require.True(t, ok)
		assert.Equal(t, enrollment.ETag, kept.ETag)
		assert.Equal(t, enrollment.Attestation, kept.Attestation)
		assert.True(t, enrollment.CreatedDateTimeUTC.Equal(kept.CreatedDateTimeUTC.Time))
		assert.Equal(t, hubA, kept.RegistrationState.AssignedHub)
		assert.Equal(t, connection, again.dps.ServiceConnectionString())
		var twice bytes.Buffer
		require.NoError(t, again.dps.Save(&twice))
		assert.JSONEq(t, string(saved), twice.String())

		// It goes on as if nothing had happened.
		o := again.service()
		o.must("PUT", "/enrollments/dev", symmetric("dev", document{
			"allocationPolicy": "static", "iotHubHostName": hubB,
		}), "If-Match", kept.ETag)
		state := again.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		assert.Equal(t, hubB, state.AssignedHub)
		assert.Equal(t, "deviceDataMigrated", state.Substatus)
		moved, _ := again.b.Twin("dev")
		assert.Equal(t, document{"temperature": 20.5}, moved.Reported)
		assert.Equal(t, "reprovisionedToInitialAssignment", again.assigned(
			dpstest.HTTPS, "cam", version, byCertificate(ca.Device("cam")),
		).Substatus)
		require.NoError(t, again.dps.MoveNow("cam", hubA), "under the terms it registered under")
	})
}

func TestRegistrationUnderWayIsLostByARestart(t *testing.T) {
	inBubble(t, dpstest.Config{AssignTime: time.Minute}, func(w *world) {
		w.enroll("dev")
		d := w.https("dev", version, byKey("dev", key1))
		op := d.register("").decode(t).OperationID
		again, _ := w.restart()
		d.close()
		d = again.https("dev", version, byKey("dev", key1))
		assert.Equal(t, 404203, d.poll(op, "").decode(t).ErrorCode)
		record, _ := again.dps.Registration("dev")
		assert.Equal(t, dpstest.StatusUnassigned, record.Status)
		assert.Equal(t, "assigned", w.finish(d, "").decode(t).state(t).Status)
	})
}

func TestDamagedStateIsRefused(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.enroll("dev")
		w.assigned(dpstest.HTTPS, "dev", version, byKey("dev", key1))
		var saved bytes.Buffer
		require.NoError(t, w.dps.Save(&saved))
		good := saved.String()
		for name, bad := range map[string]string{
			"empty": "", "half": good[:len(good)/2],
			"another scope":   strings.Replace(good, scope, "0ne00000002", 1),
			"another version": strings.Replace(good, `"version":1`, `"version":2`, 1),
			"unknown member":  strings.Replace(good, `"idScope"`, `"else": 1, "idScope"`, 1),
			"no key":          strings.Replace(good, `"serviceKey":"`, `"serviceKey":"!`, 1),
			"bad enrollment":  strings.Replace(good, key1, "!", 1),
			"bad hub":         strings.Replace(good, `"host":"`, `"host":"x`, 1),
			"null": strings.Replace(
				good, `"enrollments":[`, `"enrollments":[null,`, 1,
			),
		} {
			require.NotEqual(t, good, bad, name)
			assert.Error(t, w.dps.Load(strings.NewReader(bad)), name)
			_, ok := w.dps.Enrollment("dev")
			assert.True(t, ok, name)
			assert.True(t, has(w.a, "dev"), name)
		}
		require.NoError(t, w.dps.Load(strings.NewReader(good)))
	})
}

func FuzzLoad(f *testing.F) {
	n := simnet.New()
	f.Cleanup(func() { _ = n.Close() })
	hub := hubtest.NewHub(n, hubA)
	service := dpstest.New(n, dpstest.Config{ServiceKey: key1})
	service.Link(hub)
	require.NoError(f, service.Enroll(
		dpstest.IndividualEnrollment{RegistrationID: "dev", Attestation: dpstest.Keys(key1, key2)},
	))
	require.NoError(f, service.EnrollGroup(
		dpstest.EnrollmentGroup{EnrollmentGroupID: "g", Attestation: dpstest.Keys(key1, key2)},
	))
	require.NoError(f, hub.Put(hubtest.Device{ID: "dev"}))
	var saved bytes.Buffer
	require.NoError(f, service.Save(&saved))
	f.Add(saved.String())
	f.Add(
		`{"version":1,"idScope":"0ne00000001","serviceKey":"aaaa","registrations":[{"record":{"registrationId":"dev","status":"assigning"},"hub":"x"}]}`,
	)
	for _, at := range []string{"9999-12-31T23:00:00-01:00", "0000-01-01T00:00:00+01:00"} {
		f.Add(`{"version":1,"idScope":"0ne00000001","serviceKey":"aaaa","registrations":[{"record":` +
			`{"registrationId":"dev","createdDateTimeUtc":"` + at + `"}}]}`)
	}
	f.Fuzz(func(t *testing.T, state string) {
		if service.Load(strings.NewReader(state)) != nil {
			return
		}
		var again bytes.Buffer
		require.NoError(t, service.Save(&again))
		require.NoError(t, service.Load(&again))
	})
}

// FuzzService sends operators' requests with any body, and then registers a device under whatever
// came of it.
func FuzzService(f *testing.F) {
	n := simnet.New()
	f.Cleanup(func() { _ = n.Close() })
	hub := hubtest.NewHub(n, hubA)
	service := dpstest.New(n, dpstest.Config{
		ServiceKey: key1, ServiceOperationsPerMinute: -1, RegistrationsPerMinute: -1,
		PollsPer10s: -1, WebhookTimeout: time.Millisecond,
		Webhook: &http.Client{Transport: nobody{}},
	})
	service.Link(hub)
	for _, seed := range [][3]string{
		{"PUT", "/enrollments/dev", `{"registrationId":"dev","attestation":{"type":"symmetricKey"},"initialTwin":{"tags":{"a":1},"properties":{"desired":{"b":null}}},"capabilities":{"iotEdge":true}}`},
		{"PUT", "/enrollments/dev", `{"attestation":{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":"AA","info":null}}}}}`},
		{"PUT", "/enrollmentGroups/g", `{"attestation":{"symmetricKey":null},"allocationPolicy":"custom","customAllocationDefinition":{"webhookUrl":"http://[::1]:x/","apiVersion":"2021-10-01"},"reprovisionPolicy":{}}`},
		{"POST", "/enrollments", `{"mode":"create","enrollments":[{"registrationId":"a"},null]}`},
		{"POST", "/enrollments/query", `{"query":"*"}`},
		{"POST", "/registrations/g/query", ` `},
		{"DELETE", "/registrations/%2e", ``},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, path, body string) {
		u, err := url.Parse("https://" + dpstest.GlobalEndpoint + path)
		if err != nil || u.Host != dpstest.GlobalEndpoint {
			return
		}
		query := u.Query()
		query.Set("api-version", "2021-10-01")
		u.RawQuery = query.Encode()
		r, err := http.NewRequest(method, u.String(), strings.NewReader(body))
		if err != nil {
			return
		}
		r.Header.Set("Authorization", ownerToken(
			dpstest.GlobalEndpoint, "provisioningserviceowner", key1, time.Now().Add(time.Hour),
		))
		send := func(body string) {
			r.Body = io.NopCloser(strings.NewReader(body))
			w := httptest.NewRecorder()
			service.ServeHTTP(w, r)
			require.Less(t, w.Code, 500, "%s", w.Body)
		}
		send(body) // makes what there is not
		send("")
		r.Header.Set("If-Match", "*")
		send(body) // replaces or deletes it

		if e, ok := service.Enrollment("dev"); ok && e.Attestation.SymmetricKey != nil {
			register := httptest.NewRequest(
				"PUT", "/"+scope+"/registrations/dev/register?api-version=2021-06-01", http.NoBody,
			)
			register.Header.Set(
				"Authorization", token("dev", e.Attestation.SymmetricKey.PrimaryKey),
			)
			w := httptest.NewRecorder()
			service.ServeHTTP(w, register)
			require.Equal(t, 202, w.Code, "%s", w.Body)
			service.RemoveEnrollment("dev")
		}
	})
}

// nobody is a network on which there is nobody.
type nobody struct{}

func (nobody) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, http.ErrHandlerTimeout
}
