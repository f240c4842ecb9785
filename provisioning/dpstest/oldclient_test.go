// SPDX-License-Identifier: Apache-2.0

package dpstest_test

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// notes returns the notes of the register requests.
func (w *world) notes() []string {
	var all []string
	for _, r := range w.dps.Requests() {
		if r.Op == dpstest.Register {
			all = append(all, r.Note)
		}
	}
	w.dps.ResetLog()
	return all
}

// registerAs registers as a client that says what it is, and returns the note about it.
func (w *world) registerAs(transport, id, version, client string) string {
	w.t.Helper()
	credential := byKey(id, key1)
	if transport == dpstest.HTTPS {
		d := w.https(id, version, credential)
		defer d.close()
		d.client.Transport = named{d.client.Transport, client}
		require.Equal(w.t, 202, d.register("").status)
	} else {
		user := scope + "/registrations/" + id + "/api-version=" + version +
			"&ClientVersion=" + url.QueryEscape(client)
		d := w.mqtt(transport, id, user, credential)
		defer d.close()
		require.Equal(w.t, byte(0), d.connack.ReturnCode)
		d.subscribe("$dps/registrations/res/#", 1)
		require.Equal(w.t, 202, d.register("").status)
	}
	notes := w.notes()
	require.Len(w.t, notes, 1)
	assert.NotContains(w.t, notes[0], "\n")
	return notes[0]
}

// named sets the header that a client names itself by.
type named struct {
	http.RoundTripper
	client string
}

func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	r.Header.Set("User-Agent", n.client)
	if strings.HasPrefix(n.client, "prov_device_client") {
		r.Header.Set("UserAgent", n.client)
		r.Header.Set("User-Agent", "")
	}
	return n.RoundTripper.RoundTrip(r)
}

// What the official clients send, at and after the last version of before native reprovisioning.
func TestAClientOfBeforeReprovisioningIsNoted(t *testing.T) {
	const (
		node = "azure-iot-provisioning-device/"
		java = "com.microsoft.azure.sdk.iot.dps.dps-device-client/"
		net  = "Microsoft.Azure.Devices.Provisioning.Client/"
		more = " (.NET Core 2.1; Linux 4.15; X64)"
	)
	onEach(t, dpstest.Config{RegistrationsPerMinute: -1}, func(w *world, transport string) {
		w.enroll("dev")
		w.enroll("pinned", func(e *dpstest.IndividualEnrollment) {
			e.ReprovisionPolicy = policy(true, true)
		})
		for client, row := range map[string]struct {
			who string
			old bool // by the service's table
		}{
			node + "1.3.3":     {"Node SDK 1.3.3", true},
			node + "1.3.4":     {"Node SDK 1.3.4", false},
			node + "0.9.10":    {"Node SDK 0.9.10", true},
			node + "1.10.0":    {"Node SDK 1.10.0", false},
			java + "1.3.1":     {"Java SDK 1.3.1", true},
			java + "1.3.2":     {"Java SDK 1.3.2", false},
			net + "1.1.0":      {".NET SDK 1.1.0", true},
			net + "1.1.1":      {".NET SDK 1.1.1", false},
			net + "1.1.0-pre1": {".NET SDK 1.1.0-pre1", true},

			net + "1.1.0" + more: {".NET SDK 1.1.0", true},
			net + "1.6.0" + more: {".NET SDK 1.6.0", false},

			"1.2.8": {"C SDK (or Python's of then) 1.2.8", true},
			"1.2.9": {"C SDK (or Python's of then) 1.2.9", false},
			// over HTTPS it never tells its version
			"prov_device_client/1.0": {"C SDK (or Python's of then)", false},

			"azure-iot-device-provisioning-py/2.1.2": {"a client that does not say what it is", false},
			"thermostat/1.0.0":                       {"a client that does not say what it is", false},
			"2017-11-15":                             {"a client that does not say what it is", false},
			"%zz/1.0.0\n":                            {"a client that does not say what it is", false},
		} {
			if transport == dpstest.HTTPS && strings.ContainsAny(client, "\n") {
				continue
			}
			for _, version := range []string{"2017-11-15", "2018-04-01"} {
				note := w.registerAs(transport, "dev", version, client)
				assert.True(w.t, strings.HasPrefix(note, row.who+" registers under"), note)
				assert.Contains(w.t, note, version)
				assert.Contains(w.t, note, "stays on the hub")
			}
			note := w.registerAs(transport, "dev", "2019-03-31", client)
			if row.old {
				assert.True(w.t, strings.HasPrefix(note, row.who+" is of before"), note)
				assert.Contains(w.t, note, "moves as the allocation says")
			} else {
				assert.Empty(w.t, note, client)
			}
			assert.Empty(w.t, w.registerAs(transport, "pinned", "2018-04-01", client))
		}
	})
}

// The note tells what then happens.
func TestANotedDeviceStaysOnItsHub(t *testing.T) {
	inBubble(t, dpstest.Config{}, func(w *world) {
		w.dps.Link(w.b)
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) { e.IoTHubs = []string{hubA} })
		assert.Equal(t, hubA, w.assigned(
			dpstest.HTTPS, "dev", "2018-04-01", byKey("dev", key1),
		).AssignedHub)
		w.enroll("dev", func(e *dpstest.IndividualEnrollment) { e.IoTHubs = []string{hubB} })
		for _, row := range []struct{ version, hub, note string }{
			{"2018-04-01", hubA, "stays on the hub"}, {"2018-11-01", hubB, ""},
		} {
			w.dps.ResetLog()
			state := w.assigned(dpstest.HTTPS, "dev", row.version, byKey("dev", key1))
			assert.Equal(t, row.hub, state.AssignedHub)
			note := w.notes()[0]
			assert.Contains(t, note, row.note)
			assert.Equal(t, row.note == "", note == "")
		}
	})
}
