// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/freeport"
	"github.com/rehome-iot/rehome/internal/pagepart"
	"github.com/rehome-iot/rehome/internal/programtest"
)

const root = "../.." // of the project

// The page shows how to try it. This is the reader, in one terminal, on ports that are free and in
// another directory.
func TestThePageWorksAsItSays(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "all" {
		t.Skip("it waits as the reader does, for half a minute: CI does it, with REHOME_TESTS=all")
	}
	t.Parallel()
	for _, need := range []string{"bash", "curl", "mosquitto_pub"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skip(err)
		}
	}
	blocks := pagepart.Commands(t, "README.md", "Ten minutes")
	require.Len(t, blocks, 5)
	dir := t.TempDir()
	simulator := programtest.Simulator(t, root)
	_, http, _ := net.SplitHostPort(free(t))
	_, mqtt, _ := net.SplitHostPort(free(t))
	require.Contains(t, blocks[0], "go run ./examples/simulator -https 8443 -mqtt 8884")
	require.Contains(t, blocks[1], "go -C examples/gateway build -o /tmp/gw/gateway .\n")
	require.Contains(t, blocks[1], "-dir /tmp/gw/state 2>")
	// In a terminal of its own, so that %1 is the gateway.
	blocks[0] = strings.TrimRight(blocks[0], "\n") + ` 2>/dev/null &
cloud=$!
trap "kill $cloud; wait" EXIT
disown
for i in $(seq 300); do [ -s /tmp/gw/ready.json ] && break; sleep 0.1; done
`
	script := "set -m\necho BLOCK\n" + strings.Join(blocks, "echo BLOCK\n")
	script = strings.NewReplacer(
		"go run ./examples/simulator -https 8443 -mqtt 8884", simulator+" -https 0 -mqtt 0",
		"go -C examples/gateway build -o /tmp/gw/gateway .", "cp "+program+" "+dir+"/gw/gateway",
		"-dir /tmp/gw/state",
		"-dir "+dir+"/gw/state -http 127.0.0.1:"+http+" -mqtt 127.0.0.1:"+mqtt,
		"/tmp/gw", filepath.Join(dir, "gw"), "127.0.0.1:8080", "127.0.0.1:"+http,
		"-p 1883", "-p "+mqtt,
		"sleep 3", "sleep 7", // on any machine
	).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = root
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.Output()
	require.NoError(t, err, "%s\n%s", stdout, stderr.String())
	printed := strings.Split(string(stdout), "BLOCK\n")
	require.Len(t, printed, 6)

	type device struct {
		ID, State string
		Delivered int
	}
	code, rest, _ := strings.Cut(printed[3], "\n")
	assert.Equal(t, "202", code)
	var list struct{ Devices []device }
	require.NoError(t, json.Unmarshal([]byte(rest), &list), rest)
	assert.Equal(t, []device{{"hall", "connected", 1}, {"kitchen", "connected", 1}}, list.Devices)
	var cellar device
	require.NoError(t, json.Unmarshal([]byte(printed[4]), &cellar), printed[4])
	assert.Equal(t, device{"cellar", "connected", 0}, cellar)
	code, rest, _ = strings.Cut(printed[5], "\n")
	assert.Equal(t, "202", code)
	object, registered, _ := strings.Cut(rest, "\n}\n")
	require.NoError(t, json.Unmarshal([]byte(object+"}"), &cellar), rest)
	assert.Equal(t, "connected", cellar.State)
	assert.Equal(t, "3\n", registered)
}

// free is an address on loopback that nobody listened on a moment ago.
func free(t *testing.T) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	require.NoError(t, err)
	return addresses[0]
}

// The unit is read by systemd itself, which also judges how much of the machine it can reach.
func TestTheUnitIsGoodAndReachesLittleOfTheMachine(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip(err)
	}
	text, err := os.ReadFile("gateway.service")
	require.NoError(t, err)
	require.Contains(t, string(text), "\nExecStart=gateway -config /etc/gateway/gateway.conf\n")
	unit := filepath.Join(t.TempDir(), "gateway.service")
	require.NoError(t, os.WriteFile(unit, []byte(strings.Replace(
		string(text), "ExecStart=gateway", "ExecStart="+program, 1)), 0o600))
	for _, args := range [][]string{
		{"verify", "--man=no"}, {"security", "--offline=yes", "--no-pager", "--threshold=25"},
	} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", append(args, unit)...).
			CombinedOutput()
		assert.NoError(t, err, "%s", out)
		if args[0] == "verify" {
			assert.Empty(t, string(out))
		}
	}
}

// The sample is good once it has an ID scope.
func TestTheSampleOfSettingsIsTaken(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	list := s.list(t, "hall")
	text, err := os.ReadFile("gateway.conf")
	require.NoError(t, err)
	file := s.write(t, "gateway.conf", strings.Replace(
		string(text), "id-scope =", "id-scope = 0ne00000001", 1))
	p := launch(t, []string{"-config", file, "-identities", list, "-check"})
	assert.Equal(t, 0, p.wait(), "%s", p.Stderr())
}

// The image is built by no test. What can be wrong without is its version of Go, its paths and the
// program's flags.
func TestTheContainerfileIsOfThisProgram(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("Containerfile")
	require.NoError(t, err)
	text := strings.ReplaceAll(string(data), "\\\n", "")
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(mod)
	assert.Contains(t, text, "\nFROM docker.io/library/golang:"+string(version[1])+" AS build\n")
	assert.Contains(t, text, "go build -C examples/gateway ")
	assert.Contains(t, text, "\nUSER 65533:65533\n", "it is no root")
	command := regexp.MustCompile(`(?m)^CMD (\[.*\])$`).FindStringSubmatch(text)
	require.NotNil(t, command)
	var args []string
	require.NoError(t, json.Unmarshal([]byte(command[1]), &args))
	s := newSite(t)
	args = append(args, "-id-scope", "0ne00000001", "-identities", s.list(t, "hall"), "-check")
	p := launch(t, args)
	assert.Equal(t, 0, p.wait(), "%s", p.Stderr())
}
