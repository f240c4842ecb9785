// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/programtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The tests build the program and run it against simulators on loopback sockets, as a person would.

const hubA = "hub-a.azure-devices.net"

// Secrets that must never be seen in what the program prints.
var (
	canaryKey   = base64.StdEncoding.EncodeToString([]byte("canary-device-key-0123456789-abc"))
	canaryGroup = base64.StdEncoding.EncodeToString([]byte("canary-group-key-0123456789-abcd"))
)

const canaryToken = "canary-token-0123456789"

var (
	program    string // path of the built binary
	buildFlags []string
)

// patience is how long a test waits for what takes milliseconds, or seconds at most, on a machine
// that has nothing else to do.
const patience = time.Minute

func TestMain(m *testing.M) {
	// The tests wait for programs more than they work. -parallel on the command line goes before.
	_ = flag.Set("test.parallel", "8")
	os.Exit(func() int {
		path, remove, err := programtest.Build("gateway", buildFlags...)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer remove()
		program = path
		return m.Run()
	}())
}

// site is one simulated cloud, with an enrollment group, and what the program needs to reach it.
type site struct {
	network *simnet.Network
	dps     *dpstest.Server
	hub     *hubtest.Hub
	dir     string // for files
}

func newSite(t *testing.T) *site {
	t.Helper()
	n, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Close()) })
	s := &site{
		network: n, hub: hubtest.NewHub(n, hubA), dir: t.TempDir(),
		dps: dpstest.New(n, dpstest.Config{RetryAfter: time.Second}),
	}
	s.dps.Link(s.hub)
	require.NoError(t, s.dps.EnrollGroup(dpstest.EnrollmentGroup{
		EnrollmentGroupID: "sensors", Attestation: dpstest.Keys(canaryGroup, ""),
	}))
	s.write(t, "ca.pem", string(n.CA().PEM()))
	return s
}

func (s *site) write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(s.dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// list writes a list of identities that have the group's key.
func (s *site) list(t *testing.T, ids ...string) string {
	t.Helper()
	return s.write(t, "identities.csv", "registrationId\n"+strings.Join(ids, "\n")+"\n")
}

// flags are those of a gateway with a list, on ports of its own choice.
func (s *site) flags(list string) []string {
	_, https, _ := net.SplitHostPort(s.network.HTTPSAddr())
	_, mqtt, _ := net.SplitHostPort(s.network.MQTTAddr())
	return []string{
		"-id-scope", s.dps.IDScope(), "-ca", filepath.Join(s.dir, "ca.pem"),
		"-connect-to", ":443:127.0.0.1:" + https, "-connect-to", ":8883:127.0.0.1:" + mqtt,
		"-identities", list, "-dir", filepath.Join(s.dir, "state"),
		"-http", "127.0.0.1:0", "-mqtt", "127.0.0.1:0", "-commit-interval", "20ms",
	}
}

// groupKey is in the environment of each.
var groupKey = "GATEWAY_GROUP_KEY=" + canaryGroup

// bodies are what the hub has of a device, in the order of their arrival.
func (s *site) bodies(device string) (bodies []string) {
	for _, m := range s.hub.Messages() {
		if m.DeviceID == device {
			bodies = append(bodies, string(m.Body))
		}
	}
	return bodies
}

// process is the program, running.
type process struct {
	*programtest.Process
	t     *testing.T
	token string
}

// launch starts the program with nothing in its environment but what is given.
func launch(t *testing.T, args []string, env ...string) *process {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append([]string{groupKey}, env...)
	return &process{Process: programtest.Start(
		t, cmd,
		canaryKey, canaryGroup, canaryToken, "canary", "PRIVATE KEY", "SharedAccessSignature",
		"DATA RACE", "panic:",
	), t: t}
}

// record is one line of the log.
type record struct {
	Level, Msg, Cause, HTTP, MQTT     string
	Added, Removed, Changed, Identity int
}

// await returns the first record that fits from number from on, and the number after it.
func (p *process) await(what string, from int, fits func(record) bool) (record, int) {
	p.t.Helper()
	deadline := time.After(patience)
	for {
		lines, change := p.Lines()
		for i := from; i < len(lines); i++ {
			var r record
			if json.Unmarshal([]byte(lines[i]), &r) == nil && fits(r) {
				return r, i + 1
			}
		}
		select {
		case <-change:
			continue
		case <-p.Ended:
			require.Fail(p.t, "the program ended without: "+what, "code %d\n%s", p.Code, p.Stderr())
		case <-deadline:
			require.Fail(p.t, "the program did not log: "+what, "%s", p.Stderr())
		}
	}
}

func says(message string) func(record) bool {
	return func(r record) bool { return r.Msg == message }
}

// url is where the program listens for HTTP, and broker where for MQTT.
func (p *process) url(path string) string {
	r, _ := p.await("where it listens", 0, says("gateway starts"))
	return "http://" + r.HTTP + path
}

func (p *process) broker() string {
	r, _ := p.await("where it listens", 0, says("gateway starts"))
	return r.MQTT
}

// request makes a request, and returns the status, the header and the body of its response.
func (p *process) request(
	method, path, body string, header ...string,
) (status int, h http.Header, text string) {
	p.t.Helper()
	r, err := http.NewRequest(method, p.url(path), strings.NewReader(body))
	require.NoError(p.t, err)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	if p.token != "" {
		r.Header.Set("Authorization", "Bearer "+p.token)
	}
	client := http.Client{Timeout: patience}
	response, err := client.Do(r)
	if err != nil {
		return 0, nil, err.Error()
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	assert.NoError(p.t, err)
	return response.StatusCode, response.Header, string(data)
}

// post sends a message and wants to hear that it is kept.
func (p *process) post(device, body string, header ...string) {
	p.t.Helper()
	status, _, text := p.request("POST", "/v1/devices/"+device+"/messages", body, header...)
	require.Equal(p.t, http.StatusAccepted, status, text)
}

// ready waits for the end of the boot.
func (p *process) ready() {
	p.t.Helper()
	eventually(p.t, "ready", func() bool {
		status, _, _ := p.request("GET", "/readyz", "")
		return status == http.StatusOK
	})
}

func (p *process) signal(s os.Signal) { assert.NoError(p.t, p.Cmd.Process.Signal(s)) }

// wait returns the exit code.
func (p *process) wait() int {
	select {
	case <-p.Ended:
		return p.Code
	case <-time.After(patience):
		assert.Fail(p.t, "the program did not end", "%s", p.Stderr())
		return -1
	}
}

// stop asks the program to end, and checks that it does so in good order.
func (p *process) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	_ = p.Cmd.Process.Signal(syscall.SIGTERM) // as who ends a whole process group does
	assert.Equal(p.t, 0, p.wait(), "%s", p.Stderr())
	assert.Empty(p.t, p.Stdout.String())
}

// eventually waits for something that happens outside the program.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	assert.Eventually(t, ok, patience, 20*time.Millisecond, what)
	if t.Failed() {
		t.FailNow()
	}
}
