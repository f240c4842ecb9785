// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestEachTransportAndCredentialRegistersAndSendsAndThenNeedsNoDPS(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.NoError(t, s.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "by-key", Attestation: dpstest.Keys(canaryGroupKey, ""),
		IoTHubs: []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
	}))
	fleet := s.network.CA().Intermediate("Fleet")
	require.NoError(t, s.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "by-certificate",
		Attestation:       dpstest.SigningCertificates(fleet.Certificate(), nil),
		IoTHubs:           []string{hubA}, AllocationPolicy: dpstest.PolicyStatic,
	}))

	cases := map[string][3]string{}
	for _, dps := range []string{"https", "mqtt", "ws"} {
		for _, hub := range []string{"mqtt", "ws"} {
			for _, credential := range []string{"key", "group-key", "cert"} {
				cases[strings.Join([]string{"dps", dps, "hub", hub, credential}, "-")] = [3]string{
					dps, hub, credential,
				}
			}
		}
	}
	together(t, cases, func(t *testing.T, c [3]string) {
		dps, hub, credential := c[0], c[1], c[2]
		id := "board-" + strings.Join(c[:], "-")
		args := append(
			s.flags(), "-transport", dps, "-hub-transport", hub, "-store",
			filepath.Join(s.dir, "store-"+id),
		)
		switch credential {
		case "key":
			s.enroll(t, id)
			args = append(args, "-registration-id", id, "-key", canaryKey)
		case "group-key":
			args = append(args, "-registration-id", id, "-group-key", canaryGroupKey)
		case "cert": // the registration ID is the common name
			cert, key := s.pemFiles(t, id, fleet.Device(id), 0o600)
			args = append(args, "-cert", cert, "-cert-key", key)
		}

		p := launch(t, args)
		first, after := p.await("registering", 0, state("registering"))
		assert.Equal(t, "nothing remembered", first.Cause)
		connected, _ := p.await("connected", after, state("connected"))
		assert.Equal(t, hubA, connected.Hub)
		assert.Equal(t, "registration", connected.Source)
		eventually(t, "two messages", func() bool { return len(messages(s.a, id)) >= 2 })
		p.stop()
		eventually(t, "disconnected", func() bool { return !s.a.Connected(id) })

		m := messages(s.a, id)[0]
		assert.Equal(t, hub, m.Transport)
		assert.Equal(t, "application/json", m.System["$.ct"])
		assert.Equal(t, "utf-8", m.System["$.ce"])
		var body struct{ Temperature float64 }
		assert.NoError(t, json.Unmarshal(m.Body, &body))
		assert.InDelta(t, 21, body.Temperature, 5)
		registrations := requests(s.dps, id, dpstest.Register)
		if assert.Len(t, registrations, 1) {
			assert.Equal(t, dps, registrations[0].Transport)
		}

		all := len(requests(s.dps, id))
		sent := len(messages(s.a, id))
		again := launch(t, args)
		connected, _ = again.await("connected", 0, state("connected"))
		assert.Equal(t, hubA, connected.Hub)
		assert.Equal(t, "store", connected.Source)
		eventually(t, "a message", func() bool { return len(messages(s.a, id)) > sent })
		again.stop()
		assert.Len(t, requests(s.dps, id), all, "a warm boot asks DPS nothing")
	})
}

func TestABoardWithoutSettingsFindsThePortThatIsOpen(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	s.network.SetPortFault(hubA, simnet.PortMQTT, simnet.Refused)
	s.network.SetPortFault(dps.DefaultEndpoint, simnet.PortHTTPS, simnet.Refused)
	p := launch(t, s.keyFlags("board"))
	switched := func(r record) bool { return r.Msg == "transport switched" }
	_, after := p.await("dps over the other port", 0, switched)
	_, after = p.await("the hub over the other port", after, switched)
	p.await("connected", after, state("connected"))
	eventually(t, "a message", func() bool { return len(messages(s.a, "board")) > 0 })
	p.stop()
	assert.Equal(t, "ws", messages(s.a, "board")[0].Transport)
	assert.Equal(t, "mqtt", requests(s.dps, "board", dpstest.Register)[0].Transport)

	closed := s.network.PortDials(hubA, simnet.PortMQTT)
	again := launch(t, s.keyFlags("board"))
	again.await("connected", 0, state("connected"))
	again.stop()
	assert.Equal(t, closed, s.network.PortDials(hubA, simnet.PortMQTT))
}

func TestEnvironmentStandsForFlagsAndTheFlagWins(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "from-flag")
	var env []string
	given := s.flags()
	var targets []string
	for i := 0; i < len(given); i += 2 {
		if given[i] == "-connect-to" {
			targets = append(targets, given[i+1])
			continue
		}
		env = append(env, "THERMOSTAT_"+strings.ToUpper(strings.ReplaceAll(
			given[i][1:], "-", "_",
		))+"="+given[i+1])
	}
	env = append(
		env, "THERMOSTAT_CONNECT_TO="+strings.Join(targets, " "), "THERMOSTAT_KEY="+canaryKey,
		"THERMOSTAT_STORE="+filepath.Join(s.dir, "store"), "THERMOSTAT_HUB_TRANSPORT=ws",
		"THERMOSTAT_REGISTRATION_ID=from-environment", "THERMOSTAT_CERT=",
		"THERMOSTAT_LOG_FORMAT=json",
	)
	p := launch(t, []string{"-registration-id", "from-flag"}, env...)
	p.await("connected", 0, state("connected"))
	eventually(t, "a message", func() bool { return len(messages(s.a, "from-flag")) > 0 })
	p.stop()
	assert.Equal(t, "ws", messages(s.a, "from-flag")[0].Transport)
}

func TestCredentialFlagGoesBeforeACredentialInTheEnvironment(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	require.NoError(t, s.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "fleet",
		Attestation:       dpstest.SigningCertificates(s.network.CA().Certificate(), nil),
	}))
	cert, key := s.pemFiles(t, "board", s.network.CA().Device("board"), 0o600)
	p := launch(
		t, append(s.flags(), "-cert", cert), "THERMOSTAT_CERT_KEY="+key,
		"THERMOSTAT_KEY="+canaryKey,
	)
	p.await("a warning about the store", 0, func(r record) bool {
		return r.Level == "WARN" && strings.Contains(r.Msg, "-store is missing")
	})
	p.await("connected", 0, state("connected"))
	p.stop()
}

func TestLogAsText(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, append(s.keyFlags("board"), "-log-format", "text"))
	eventually(t, "connected", func() bool {
		return strings.Contains(
			p.Stderr(), "state=connected hub="+hubA+" source=registration\n",
		)
	})
	p.stop()
}

func TestRejectedByTheHubReprovisions(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	first := launch(t, s.keyFlags("board"))
	first.await("connected", 0, state("connected"))
	first.stop()
	require.NoError(t, s.dps.MoveNow("board", hubB))
	p := launch(t, s.keyFlags("board"))
	r, after := p.await("registering", 0, state("registering"))
	assert.Contains(t, r.Cause, "return code 5")
	r, _ = p.await("connected", after, state("connected"))
	assert.Equal(t, hubB, r.Hub)
	assert.Equal(t, "registration", r.Source)
	p.stop()
}

func TestHangupReprovisions(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGHUP")
	}
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	_, after := p.await("connected", 0, state("connected"))

	p.signal(syscall.SIGHUP)
	done := func(r record) bool { return r.Msg == "reprovisioned" }
	r, after := p.await("reprovisioned", after, done)
	assert.Equal(t, hubA, r.Hub)
	assert.Len(t, s.a.Attempts(), 1, "the same hub: the connection stays")

	require.NoError(t, s.dps.Move("board", hubB))
	p.signal(syscall.SIGHUP)
	_, after = p.await("connected to the other hub", after, func(r record) bool {
		return r.State == "connected" && r.Hub == hubB
	})
	eventually(t, "a message at the new hub", func() bool {
		return len(messages(s.b, "board")) > 0
	})

	s.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503})
	p.signal(syscall.SIGHUP)
	r, _ = p.await("failure", after, func(r record) bool {
		return strings.HasPrefix(r.Msg, "reprovisioning failed")
	})
	assert.Contains(t, r.Cause, "503")
	assert.True(t, s.b.Connected("board"), "a failure changes nothing")
	p.stop()
}

func TestHangupBeforeTheFirstConnectionDoesNotEndTheProgram(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("no SIGHUP")
	}
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"))
	_, after := p.await("its first line", 0, func(record) bool { return true })
	for range 20 {
		p.signal(syscall.SIGHUP)
		time.Sleep(2 * time.Millisecond)
	}
	p.await("connected", after, state("connected"))
	p.stop()
}

func messages(h *hubtest.Hub, id string) (found []hubtest.Message) {
	for _, m := range h.Messages() {
		if m.DeviceID == id {
			found = append(found, m)
		}
	}
	return found
}

func requests(s *dpstest.Server, id string, ops ...dpstest.Op) (found []dpstest.Request) {
	for _, r := range s.Requests() {
		if r.RegistrationID == id && (len(ops) == 0 || r.Op == ops[0]) {
			found = append(found, r)
		}
	}
	return found
}
