// SPDX-License-Identifier: Apache-2.0

//go:build unix

package layout

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The simulator's page shows how an operator moves a device. This is the reader: it runs the blocks
// one after the other, with other ports and directories, and waits where a person would look.
func TestDevicesMoveAsTheSimulatorsPageSays(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "all" {
		t.Skip("it waits for a device for 15 s: CI plays it, with REHOME_TESTS=all")
	}
	t.Parallel() // it mostly waits for the device
	for _, tool := range []string{"bash", "curl", "jq", "openssl", "base64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	if out, _ := exec.Command("base64", "--version").Output(); !bytes.Contains(out, []byte("GNU")) {
		t.Skip("the page's commands are for GNU's base64")
	}
	var blocks []string
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if page.name == walkPage && b.heading == walkHeading {
				blocks = append(blocks, b.text)
			}
		}
	}
	require.Len(t, blocks, walkBlocks)
	simulator, tools, past, policy, ask, look, feed := blocks[0], blocks[1], blocks[2], blocks[3],
		blocks[4], blocks[5], blocks[6]

	dir := t.TempDir()
	runGo(
		t, nil, "build", "-o", dir+string(filepath.Separator), "./examples/simulator",
		"./examples/thermostat",
	)
	others := strings.NewReplacer(
		"-https 8443", "-https 0", "-mqtt 8884", "-mqtt 0",
		"/tmp/", dir+"/", "go run ./examples/", "exec "+dir+"/",
	)
	stderr := filepath.Join(dir, "stderr")
	start(t, others.Replace(simulator), stderr)
	var ready struct{ HTTPS string }
	eventually(t, "the ready line", func() bool {
		line, _ := os.ReadFile(filepath.Join(dir, "sim-ready.json"))
		return json.Unmarshal(line, &ready) == nil
	})
	_, port, err := net.SplitHostPort(ready.HTTPS)
	require.NoError(t, err)
	others = strings.NewReplacer(
		":8443", ":"+port, "/tmp/", dir+"/", "--max-time 8 ", "--max-time 20 ")

	printed := read(t, stderr)
	_, command, ok := strings.Cut(printed, "\n  go run ./examples/thermostat ")
	require.True(t, ok, "the simulator shows no command of a thermostat")
	command, _, _ = strings.Cut(command, "\n")
	log := filepath.Join(dir, "thermostat.log")
	start(t, "exec "+filepath.Join(dir, "thermostat")+" "+command, log)
	connected := func(hub string) func() bool {
		return func() bool { return strings.Contains(read(t, log), "state=connected hub="+hub) }
	}
	eventually(t, "connected to hub A", connected("hub-a"))

	shell(t, others.Replace(tools+past+policy))
	assert.False(t, connected("hub-b")(), "nothing has happened to the device")
	shell(t, others.Replace(tools+ask))
	eventually(t, "connected to hub B", connected("hub-b"))

	out := shell(t, others.Replace(tools+look))
	for _, says := range []string{
		`"assignedHub": "hub-b.azure-devices.net"`, `"substatus": "deviceDataMigrated"`, "\n23\n",
		"DeviceNotFound",
	} {
		assert.Contains(t, out, says)
	}

	out = shell(t, others.Replace(feed))
	at := 0
	for _, says := range []string{
		"registration\thub-a.azure-devices.net\tinitialAssignment",
		"connected\thub-a.azure-devices.net",
		"method\thub-a.azure-devices.net\treprovision",
		"\ndisconnected\thub-a.azure-devices.net", // its identity there goes first
		"registration\thub-b.azure-devices.net\tdeviceDataMigrated",
		"\nconnected\thub-b.azure-devices.net",
		"event: telemetry\ndata: {",
	} {
		next := strings.Index(out[at:], says)
		require.GreaterOrEqual(t, next, 0, "%q in its turn, in:\n%s", says, out)
		at += next + len(says)
	}
}

// start runs a command of a shell in the project's root until the test ends.
func start(t *testing.T, command, stderr string) {
	t.Helper()
	startProgram(t, exec.Command("bash", "-c", command), stderr)
}

// startProgram is start without a shell.
func startProgram(t *testing.T, cmd *exec.Cmd, stderr string) {
	t.Helper()
	file, err := os.Create(stderr)
	require.NoError(t, err)
	defer file.Close()
	cmd.Dir, cmd.Stderr = root, file
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
}

// shell runs commands to their end. What they print is in the failure alone: it may name keys.
func shell(t *testing.T, script string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		require.True(t, time.Now().Before(end), what)
	}
}
