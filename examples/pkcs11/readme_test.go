// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/pkcs11/softhsm"
	"github.com/rehome-iot/rehome/internal/pagepart"
	"github.com/rehome-iot/rehome/internal/programtest"
)

const root = "../.." // of the project

// The page shows how to try it. This is the reader, in one terminal and in another directory.
func TestThePageWorksAsItSays(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "all" {
		t.Skip("it builds two programs and runs them: CI does it, with REHOME_TESTS=all")
	}
	module := softhsm.Module(t)
	softhsm.Need(t, "bash", "jq", "openssl")
	blocks := pagepart.Commands(t, "README.md", "Ten minutes")
	require.Len(t, blocks, 6)

	dir, err := os.MkdirTemp("", "pkcs11") // the program makes it
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	at := filepath.Join(dir, "hsm")
	simulator := programtest.Simulator(t, root)
	require.Contains(t, blocks[2], "go run ./examples/simulator ")
	blocks[2] = strings.TrimRight(blocks[2], "\n") + ` &
trap "kill $!; wait" EXIT
for i in $(seq 300); do [ -s /tmp/hsm/ready.json ] && break; sleep 0.1; done
`
	script := "echo BLOCK\n" + strings.Join(blocks, "echo BLOCK\n")
	script = strings.NewReplacer(
		"go run ./examples/simulator -https 8443 -mqtt 8884", simulator+" -https 0 -mqtt 0 -amqp 0",
		"/tmp/hsm", at, "/usr/lib/softhsm/libsofthsm2.so", module,
	).Replace(script)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script)
	cmd.Dir = root
	stdout, err := cmd.Output()
	if failure, ok := err.(*exec.ExitError); ok {
		require.NoError(t, err, "%s\n%s", stdout, failure.Stderr)
	}
	require.NoError(t, err)

	printed := strings.Split(string(stdout), "BLOCK\n")
	require.Len(t, printed, 7)
	messages := func(block int) (all []sent) {
		for line := range strings.Lines(printed[block]) {
			if strings.HasPrefix(line, "{") {
				var s sent
				require.NoError(t, json.Unmarshal([]byte(line), &s))
				all = append(all, s)
			}
		}
		return all
	}
	first, second, other := messages(4), messages(5), messages(6)
	require.Len(t, first, 1)
	require.Len(t, second, 2)
	require.Len(t, other, 1)
	assert.Equal(t, first[0].ValidUntil, second[0].ValidUntil)
	assert.True(t, second[1].ValidUntil.After(second[0].ValidUntil))
	assert.Equal(t, "board-2", other[0].DeviceID)
	for _, s := range append(append(first, second...), other...) {
		assert.Equal(t, "issued certificate", s.Credential)
		assert.Equal(t, hubName, s.Hub)
	}
	keys := func(block int) string {
		var lines []string
		for line := range strings.Lines(printed[block]) {
			if m := listLine.FindStringSubmatch(line); m != nil {
				lines = append(lines, m[2]+" "+m[1])
			}
		}
		require.Len(t, lines, 2, printed[block])
		assert.Contains(t, strings.Join(lines, "\n"), "onboarding ")
		for _, line := range lines {
			if id, ok := strings.CutPrefix(line, "rehome board-1 "); ok {
				return id
			}
		}
		t.Fatalf("no key of the device: %s", printed[block])
		return ""
	}
	assert.NotEqual(t, keys(4), keys(5))

	pin, err := os.ReadFile(filepath.Join(at, "pin"))
	require.NoError(t, err)
	assert.NotContains(t, string(stdout), strings.TrimSpace(string(pin)))
	found, files := privateKeysIn(t, filepath.Join(at, "board-1"))
	assert.Zero(t, found)
	assert.GreaterOrEqual(t, files, 2)
}
