//go:build unix

package consolepage

import (
	"bufio"
	"bytes"
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
)

const key = "Y2FuYXJ5LWtleS1vZi1hLWtpdGNoZW4tMDAwMDAwMDE="

// One device with an enrollment of its own, and a group. Little is waited for.
const config = `{
	"enrollments": [{"registrationId": "thermostat-1", "attestation": {"symmetricKey": {"primaryKey": "` + key + `"}},
		"allocationPolicy": "static", "iotHubs": ["hub-a.azure-devices.net"],
		"initialTwin": {"properties": {"desired": {"targetTemperature": 20}}}}],
	"enrollmentGroups": [{"enrollmentGroupId": "fleet", "attestation": {"symmetricKey": {"primaryKey": "` + key + `"}}}],
	"limits": {"registrationsPerMinute": 0, "pollsPer10s": 0, "retryAfter": 1}}`

func TestAPersonMovesADeviceByAllPolicies(t *testing.T) {
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "howto")
}

func TestAFaultIsSwitchedOnAndSeenAtTheDevice(t *testing.T) {
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "fault")
}

func TestTheConsoleIsUsedByKeyboardAlone(t *testing.T) {
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "keyboard")
}

func TestTheConsoleIsLegibleOnEveryScreen(t *testing.T) {
	s := startSimulator(t)
	s.startThermostat(t)
	s.browse(t, "looks")
}

func TestTwoThousandDevicesAreShown(t *testing.T) {
	s := startSimulator(t)
	s.connectFleet(t, 2000)
	out := s.browse(t, "fleet")
	assert.Regexp(t, regexp.MustCompile(`first paint \d+ ms`), out)
}

// simulator is the program with a console.
type simulator struct {
	HTTPS, MQTT, IDScope, CA, Console string

	dir    string // with the programs
	stderr *output
}

// output is what a program says, which can be read while it runs.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// need skips a test where there is no browser, unless it must be there.
func need(t *testing.T) {
	t.Helper()
	_, err := os.Stat(filepath.Join("testdata", "node_modules", "playwright-core"))
	for _, program := range []string{"node", browser()} {
		if err == nil {
			_, err = exec.LookPath(program)
		}
	}
	if err != nil && os.Getenv("REHOME_CONSOLE") == "required" {
		require.NoError(t, err)
	}
	if err != nil {
		t.Skip(err)
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
	s := &simulator{dir: t.TempDir(), stderr: new(output)}
	build := exec.Command(
		"go", "build", "-o", s.dir+string(filepath.Separator), "../../examples/simulator",
		"../../examples/thermostat",
	)
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
	file := filepath.Join(s.dir, "simulator.json")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(
		filepath.Join(s.dir, "simulator"), "-https", "0", "-mqtt", "0", "-config", file,
		"-console", "127.0.0.1:0",
	)
	cmd.Stderr = s.stderr
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { stop(t, cmd, s.stderr) })
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, s.stderr)
	require.NoError(t, json.Unmarshal(line, s))
	require.NotEmpty(t, s.Console)
	return s
}

// stop ends a program as an init system does.
func stop(t *testing.T, cmd *exec.Cmd, stderr *output) {
	assert.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	assert.NoError(t, cmd.Wait(), stderr)
}

// startThermostat starts the device, which connects by itself.
func (s *simulator) startThermostat(t *testing.T) {
	t.Helper()
	cmd := exec.Command(
		filepath.Join(s.dir, "thermostat"), "-id-scope", s.IDScope, "-registration-id",
		"thermostat-1", "-key", key, "-ca", s.CA, "-connect-to", ":443:"+s.HTTPS, "-connect-to",
		":8883:"+s.MQTT, "-interval", "1s", "-store", filepath.Join(s.dir, "store"),
	)
	stderr := new(output)
	cmd.Stdout, cmd.Stderr = stderr, stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		stop(t, cmd, stderr)
		if t.Failed() {
			t.Logf("the device:\n%s", stderr)
		}
	})
	require.Eventually(t, func() bool {
		return strings.Contains(stderr.String(), "device connected")
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
