// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/base64"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

const hubA = "hub-a.azure-devices.net"

// Keys that must never be seen in what the program prints.
var (
	canaryKey      = base64.StdEncoding.EncodeToString([]byte("canary-device-key-0123456789-abc"))
	canaryGroupKey = base64.StdEncoding.EncodeToString([]byte("canary-group-key-0123456789-abcd"))
)

// patience is how long a test waits for what takes milliseconds.
const patience = 30 * time.Second

// site is one simulated cloud on real sockets, and a device that is enrolled there.
type site struct {
	*testing.T
	network *simnet.Network
	dps     *dpstest.Server
	hub     *hubtest.Hub
	dir     string
}

func newSite(t *testing.T) *site {
	t.Helper()
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	s := &site{
		T: t, network: n, hub: hubtest.NewHub(n, hubA), dir: t.TempDir(),
		dps: dpstest.New(n, dpstest.Config{RetryAfter: time.Second}),
	}
	s.dps.Link(s.hub)
	s.write("ca.pem", n.CA().PEM())
	require.NoError(t, s.dps.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "board", Attestation: dpstest.Keys(canaryKey, ""),
	}))
	return s
}

func (s *site) write(name string, data []byte) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(s, os.WriteFile(path, data, 0o600))
	return path
}

// ran is what became of a run.
type ran struct {
	code           int
	stdout, stderr string
}

// flags lead to the simulator, as the board.
func (s *site) flags() []string {
	_, https, _ := net.SplitHostPort(s.network.HTTPSAddr())
	_, mqtt, _ := net.SplitHostPort(s.network.MQTTAddr())
	return []string{
		"-id-scope", s.dps.IDScope(), "-registration-id", "board",
		"-ca", filepath.Join(s.dir, "ca.pem"), "-connect-to", ":443:127.0.0.1:" + https,
		"-connect-to", ":8883:127.0.0.1:" + mqtt,
	}
}

func (s *site) store() string { return filepath.Join(s.dir, "store") }

// run runs a subcommand as the board, with its key in the environment.
func (s *site) run(name string, more ...string) ran {
	s.Helper()
	return s.runWith("", name, more...)
}

func (s *site) runWith(stdin, name string, more ...string) ran {
	s.Helper()
	args := append(append([]string{name}, s.flags()...), more...)
	return start(s, stdin, []string{"REHOME_KEY=" + canaryKey}, args...)
}

// start runs the program to its end.
func start(t testing.TB, stdin string, environ []string, args ...string) ran {
	t.Helper()
	var stdout, stderr programtest.Output
	code := run(context.Background(), args, environ, strings.NewReader(stdin), &stdout, &stderr)
	r := ran{code, stdout.String(), stderr.String()}
	for _, secret := range []string{canaryKey, canaryGroupKey, "SharedAccessSignature"} {
		assert.NotContains(t, r.stdout+r.stderr, secret)
	}
	return r
}
