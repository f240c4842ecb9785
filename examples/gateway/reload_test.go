// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestTheListIsReadAgainOnSIGHUPAndABadOneChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "stays", "goes", "changes")
	p := launch(t, s.flags(list))
	p.ready()
	connected := func(id string) func() bool {
		return func() bool { return s.hub.Connected(id) }
	}
	for _, id := range []string{"stays", "goes", "changes"} {
		eventually(t, id, connected(id))
	}
	connections := func(id string) (n int) {
		for _, a := range s.hub.Attempts() {
			if a.DeviceID == id {
				n++
			}
		}
		return n
	}

	s.write(t, "identities.csv", "registrationId,key\nstays,\ncomes,"+canaryKey+"canary\n")
	p.signal(syscall.SIGHUP)
	r, at := p.await("a bad list", 0, says("identities not read again: those of before go on"))
	assert.Contains(t, r.Cause, "identities.csv: line 3: key: ")
	for _, id := range []string{"stays", "goes", "changes"} {
		assert.True(t, s.hub.Connected(id))
	}

	require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "changes", Attestation: dpstest.Keys(canaryKey, ""),
	}))
	s.write(t, "identities.csv", "registrationId,key\nstays,\ncomes,\nchanges,"+canaryKey+"\n")
	p.signal(syscall.SIGHUP)
	r, _ = p.await("a good list", at, says("identities read again"))
	assert.Equal(t, []int{1, 1, 1}, []int{r.Added, r.Removed, r.Changed})
	eventually(t, "comes", connected("comes"))
	eventually(t, "changes, with its new key", func() bool {
		return s.hub.Connected("changes") && connections("changes") == 2
	})
	eventually(t, "goes", func() bool { return !s.hub.Connected("goes") })
	assert.Equal(t, 1, connections("stays"), "nothing has happened to it")
	p.post("comes", "hello")
	status, _, _ := p.request("POST", "/v1/devices/goes/messages", "hello")
	assert.Equal(t, http.StatusNotFound, status)
	p.stop()
}

// What is kept for an identity that is not listed is delivered when it is listed again.
func TestMessagesOutliveTheirIdentitysAbsence(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.network.SetFault(hubA, simnet.Refused)
	p := launch(t, s.flags(s.list(t, "sensor-1", "sensor-2")))
	p.post("sensor-1", "kept")
	p.ready()
	s.list(t, "sensor-2")
	p.signal(syscall.SIGHUP)
	_, at := p.await("without it", 0, says("identities read again"))
	s.list(t, "sensor-1", "sensor-2")
	s.network.SetFault(hubA, simnet.Fault(0))
	p.signal(syscall.SIGHUP)
	p.await("with it", at, says("identities read again"))
	eventually(t, "it", func() bool { return len(s.bodies("sensor-1")) == 1 })
	p.stop()
}
