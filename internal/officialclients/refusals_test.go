// SPDX-License-Identifier: Apache-2.0

package officialclients

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// clientErr returns the error as the client reported it.
func clientErr(t *testing.T, err error) *clientError {
	t.Helper()
	e, ok := errors.AsType[*clientError](err)
	require.True(t, ok, "%v is no error of the client", err)
	return e
}

func TestOfficialClientSeesRefusalsAsItsOwnErrors(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, id := range []string{"wrong-key", "disabled"} {
		require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
			RegistrationID: id, Attestation: dpstest.Keys(key(id), ""),
		}))
	}
	require.NoError(t, w.dps.SetEnabled("disabled", false))
	stranger := simnet.NewCA("Stranger", w.network.Now()).Device("stranger")

	for _, transport := range allTransports {
		for name, c := range map[string]struct {
			id         string
			credential with
			scope      string
			names      []string // of the client's error; they depend on its transport
		}{
			"wrong key":           {id: "wrong-key", credential: with{"key": key("another")}, names: []string{"UnauthorizedError"}},
			"unknown certificate": {id: "stranger", credential: pemPair(t, stranger), names: []string{"UnauthorizedError"}},
			"unknown id scope":    {id: "wrong-key", credential: with{"key": key("wrong-key")}, scope: "0ne0000dead", names: []string{"DeviceNotFoundError", "Error"}},
			// The client knows no such status, and says so in its way.
			"disabled enrollment": {id: "disabled", credential: with{"key": key("disabled")}, names: []string{"SyntaxError"}},
		} {
			t.Run(transport+", "+name, func(t *testing.T) {
				t.Parallel()
				args := w.registering(c.id, transport, c.credential)
				if c.scope != "" {
					args["idScope"] = c.scope
				}
				err := clientErr(t, node.try("register", args, nil))
				assert.Contains(t, c.names, err.Name, "%v", err)
			})
		}
	}
}

// Over MQTT the client asks again; over HTTPS it leaves that to the program, by an error it has a
// name for.
func TestOfficialClientComesThroughThrottlingAndErrorsOfTheService(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriver(t, w.network)
	for _, transport := range allTransports {
		for name, f := range map[string]dpstest.Fault{
			"429 with Retry-After on register": {On: dpstest.Register, Code: 429001, RetryAfter: "1"},
			"429 without one on a poll":        {On: dpstest.Poll, Code: 429001},
			"500 on register":                  {On: dpstest.Register, Code: 500000, RetryAfter: "1"},
			"503 twice on a poll":              {On: dpstest.Poll, Status: 503, Times: 2, RetryAfter: "1"},
		} {
			t.Run(transport+", "+name, func(t *testing.T) {
				t.Parallel()
				f.RegistrationID = "patient-" + transport + "-" +
					map[string]string{"4": "t", "5": "e"}[name[:1]] + string(f.On)
				require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
					RegistrationID: f.RegistrationID,
					Attestation:    dpstest.Keys(key(f.RegistrationID), ""),
				}))
				w.dps.Inject(f)
				var got state
				args := w.registering(
					f.RegistrationID, transport, with{"key": key(f.RegistrationID)},
				)
				if transport == "https" {
					err := clientErr(t, node.try("register", args, nil))
					assert.Contains(t, []string{
						"ThrottlingError", "InternalServerError", "ServiceUnavailableError",
					}, err.Name, "%v", err)
					assert.Equal(t, max(f.Status, f.Code/1000), err.Status)
					return
				}
				node.must(t, "register", args, &got)
				assert.Equal(t, "assigned", got.Status)
			})
		}
	}
}

func TestOfficialClientTrustsOnlyTheCAItIsGiven(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{})
	node := newDriverTrusting(t, simnet.NewCA("Another Root", time.Now()).PEM())
	require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "careful", Attestation: dpstest.Keys(key("careful"), ""),
	}))
	for _, transport := range allTransports {
		t.Run(transport, func(t *testing.T) {
			err := clientErr(t, node.try(
				"register", w.registering("careful", transport, with{"key": key("careful")}), nil,
			))
			assert.Contains(t, err.Error(), "certificate")
			assert.Zero(t, w.dps.Count(dpstest.Register))
		})
	}
}

func TestOfficialClientsPayloadReachesTheAllocationAndComesBack(t *testing.T) {
	need(t)
	w := newWorld(t, dpstest.Config{Allocate: echo})
	node := newDriver(t, w.network)
	for _, transport := range allTransports {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			id := "payload-" + transport
			require.NoError(t, w.dps.Enroll(dpstest.IndividualEnrollment{
				RegistrationID: id, Attestation: dpstest.Keys(key(id), ""),
			}))
			var got state
			node.must(t, "register", w.registering(id, transport, with{
				"key": key(id), "payload": with{"model": "T-800", "floor": 3},
			}), &got)
			assert.Equal(t, map[string]any{"model": "T-800", "floor": 3.0}, got.Payload)
			assert.Equal(t, hostB, got.AssignedHub)
		})
	}
}
