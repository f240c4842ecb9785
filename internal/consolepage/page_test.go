// SPDX-License-Identifier: Apache-2.0

//go:build unix

package consolepage

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/programtest"
)

const key = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="

// One device with an enrollment of its own, and a group. Little is waited for.
const config = `{
	"enrollments": [{"registrationId": "thermostat-1", "attestation": {"symmetricKey": {"primaryKey": "` + key + `"}},
		"allocationPolicy": "static", "iotHubs": ["hub-a.azure-devices.net"],
		"initialTwin": {"properties": {"desired": {"targetTemperature": 20}}}}],
	"enrollmentGroups": [{"enrollmentGroupId": "fleet", "attestation": {"symmetricKey": {"primaryKey": "` + key + `"}}}],
	"latency": {"*": {"hub-a.azure-devices.net": 5, "hub-b.azure-devices.net": 50}},
	"limits": {"registrationsPerMinute": 0, "pollsPer10s": 0, "retryAfter": 1}}`

var programs string // the directory of what build makes

var build = sync.OnceValues(func() ([]byte, error) {
	return exec.Command(
		"go", "build", "-o", programs+string(filepath.Separator), "../../examples/simulator",
		"../../examples/thermostat",
	).CombinedOutput()
})

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
	if programs, err = os.MkdirTemp("", "consolepage-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(programs)
	return m.Run()
}

func TestAPersonMovesADeviceByAllPolicies(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "howto")
}

func TestWhatWasRecordedDoesTheSameOnceMore(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "replay")
}

func TestTheConsoleIsThereBeforeAnyDevice(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.browse(t, "empty")
}

func TestAFaultIsSwitchedOnAndSeenAtTheDevice(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "fault")
}

func TestTheConsoleIsUsedByKeyboardAlone(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "keyboard")
}

func TestTheConsoleIsLegibleOnEveryScreen(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "looks")
}

// This one measures, and is alone: the others wait for it.
func TestTwoThousandDevicesAreShown(t *testing.T) {
	s := startSimulator(t)
	s.connectFleet(t, 2000)
	out := s.browse(t, "fleet")
	assert.Regexp(t, regexp.MustCompile(`first paint \d+ ms`), out)
}

// simulator is the program with a console.
type simulator struct {
	HTTPS, MQTT, IDScope, CA, Console string

	stderr *programtest.Output
}

// logLine is a line of the simulator's log, in which CI looks for keys. What it says besides is a
// command with a key in it, for people to paste.
var logLine = regexp.MustCompile(`(?m)^time=.*\n`)

// need skips a test that is not asked for. Where it is, there must be a browser.
func need(t *testing.T) {
	t.Helper()
	if os.Getenv("REHOME_CONSOLE") != "required" {
		t.Skip("it waits for devices for minutes: CI does, with REHOME_CONSOLE=required")
	}
	_, err := os.Stat(filepath.Join("testdata", "node_modules", "playwright-core"))
	require.NoError(t, err)
	for _, program := range []string{"node", browser()} {
		_, err := exec.LookPath(program)
		require.NoError(t, err)
	}
}

func browser() string {
	if path := os.Getenv("REHOME_CHROMIUM"); path != "" {
		return path
	}
	return "/usr/bin/chromium"
}

func startSimulator(t *testing.T) *simulator {
	t.Helper()
	need(t)
	out, err := build()
	require.NoError(t, err, string(out))
	s := &simulator{stderr: new(programtest.Output)}
	file := filepath.Join(t.TempDir(), "simulator.json")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(
		filepath.Join(programs, "simulator"), "-https", "0", "-mqtt", "0", "-config", file,
		"-console", "127.0.0.1:0",
	)
	cmd.Stderr = s.stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop(t, cmd, s.stderr)
		t.Logf("the simulator:\n%s", strings.Join(logLine.FindAllString(s.stderr.String(), -1), ""))
	})
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, s.stderr)
	require.NoError(t, json.Unmarshal(line, s))
	require.NotEmpty(t, s.Console)
	return s
}

// stop ends a program as an init system does.
func stop(t *testing.T, cmd *exec.Cmd, stderr *programtest.Output) {
	assert.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	assert.NoError(t, cmd.Wait(), stderr)
}

// startThermostat starts the device, which connects by itself.
func (s *simulator) startThermostat(t *testing.T) {
	t.Helper()
	cmd := exec.Command(
		filepath.Join(programs, "thermostat"), "-id-scope", s.IDScope, "-registration-id",
		"thermostat-1", "-key", key, "-ca", s.CA, "-connect-to", ":443:"+s.HTTPS, "-connect-to",
		":8883:"+s.MQTT, "-interval", "1s", "-store", filepath.Join(t.TempDir(), "store"),
	)
	stderr := new(programtest.Output)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop(t, cmd, stderr)
		t.Logf("the device:\n%s", stderr)
	})
	require.Eventually(t, func() bool {
		return strings.Contains(stderr.String(), "connected to ")
	}, time.Minute, 20*time.Millisecond, "%s", stderr)
}

// browse does one thing in the browser, and returns what it printed.
func (s *simulator) browse(t *testing.T, what string) string {
	t.Helper()
	pictures := os.Getenv("REHOME_PICTURES") // where a person may look at them
	if pictures == "" {
		pictures = t.TempDir()
	}
	cmd := exec.CommandContext(
		t.Context(), "node", filepath.Join("testdata", "page.js"), what, s.Console, pictures,
	)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s\n%s", out, s.stderr)
	t.Logf("%s", out)
	return string(out)
}
