// SPDX-License-Identifier: Apache-2.0

//go:build unix

package layout

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The page of the command line, and the section that is played.
const (
	toolPage    = "examples/rehome/README.md"
	toolHeading = "ten-minutes"
	toolBlocks  = 5
)

// The page of the command line shows how to try it. This is the reader, in other directories and on
// other ports.
func TestTheCommandLineWorksAsItsPageSays(t *testing.T) {
	if os.Getenv("REHOME_TESTS") != "all" {
		t.Skip("it waits for what comes for 5 s: CI plays it, with REHOME_TESTS=all")
	}
	t.Parallel()
	for _, tool := range []string{"bash", "jq", "openssl", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(err)
		}
	}
	var blocks []string
	for _, page := range documents(t) {
		for _, b := range page.blocks {
			if page.name == toolPage && b.heading == toolHeading {
				blocks = append(blocks, b.text)
			}
		}
	}
	require.Len(t, blocks, toolBlocks)

	dir := t.TempDir()
	runGo(t, nil, "build", "-o", dir+string(filepath.Separator), "./examples/simulator")
	start(t, strings.NewReplacer(
		"-https 8443", "-https 0", "-mqtt 8884", "-mqtt 0", "/tmp/", dir+"/",
		"go run ./examples/simulator", "exec "+dir+"/simulator",
	).Replace(blocks[0]), filepath.Join(dir, "stderr"))
	var ready struct{ HTTPS, MQTT string }
	eventually(t, "the ready line", func() bool {
		line, _ := os.ReadFile(filepath.Join(dir, "sim-ready.json"))
		return json.Unmarshal(line, &ready) == nil
	})
	_, https, err := net.SplitHostPort(ready.HTTPS)
	require.NoError(t, err)
	_, mqtt, err := net.SplitHostPort(ready.MQTT)
	require.NoError(t, err)
	others := strings.NewReplacer(":8443", ":"+https, ":8884", ":"+mqtt, "/tmp/", dir+"/",
		"-s INT 5 ", "-s INT 20 ") // a start may take seconds on a busy machine
	out := shell(t, others.Replace(strings.Join(blocks[1:], "")))
	at := 0
	for _, says := range []string{
		"1 message sent to hub-", "a start does   connect", "3 messages sent to hub-",
		"connected  hub-", "desired  ", "✓ hub ", "it stays connected", "✗ dps ",
		"do not fit each other", "exit code 1",
	} {
		next := strings.Index(out[at:], says)
		require.GreaterOrEqual(t, next, 0, "%q in its turn, in:\n%s", says, out)
		at += next + len(says)
	}
	assert.NotContains(t, out, strings.TrimSpace(read(t, filepath.Join(dir, "group.key"))))
}
