// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/provisioning"
	"github.com/rehome-iot/rehome/provisioning/dps"
)

// settings is what a shell that has read the file hands to a program.
func settings(t *testing.T, file string) map[string]string {
	t.Helper()
	shell := exec.Command("sh", "-c", `. "$0"; env`, file)
	shell.Env = []string{"PATH=" + os.Getenv("PATH")}
	out, err := shell.Output()
	require.NoError(t, err)
	found := map[string]string{}
	for line := range strings.Lines(string(out)) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		found[name] = value
	}
	return found
}

// A program with the four variables reaches the simulator, and its first message is in the log.
func TestAProgramOfOnesOwnConnectsByTheExports(t *testing.T) {
	for name, c := range map[string]struct{ config, id string }{
		"a group": {`{"enrollmentGroups":[{"enrollmentGroupId":"g-1"}],` + little + `}`, "sensor-042"},
		"an individual enrollment": {`{"enrollments":[{"registrationId":"kitchen","attestation":
			{"symmetricKey":{"primaryKey":"` + key + `"}}}],` + little + `}`, "kitchen"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "it's.env")
			require.NoError(t, os.WriteFile(file, []byte("an earlier simulator's"), 0o644))
			p := start(
				t, "-config", write(t, "simulator.json", c.config), "-env-file", file, "-ca-dir",
				filepath.Join(t.TempDir(), "it's a directory"),
			)
			defer p.stop(t)
			info, err := os.Stat(file) // written before the ready line, for this user alone
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o600), info.Mode())
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			for line := range strings.Lines(string(text)) {
				assert.Eventually(t, func() bool {
					return strings.Contains(p.stderr.String(), "\n  "+line)
				}, limit, 10*time.Millisecond, "people see it too")
			}

			set := settings(t, file)
			assert.Equal(t, c.id, set["REGISTRATION_ID"])
			t.Setenv(simdial.Variable, set[simdial.Variable])
			sim, err := simdial.FromEnv()
			require.NoError(t, err)
			dev := &provisioning.Device{
				IDScope:     set["ID_SCOPE"],
				Attestation: dps.SymmetricKey{ID: set["REGISTRATION_ID"], Key: set["DEVICE_KEY"]},
				DialContext: sim.DialContext, TLSConfig: sim.TLSConfig,
			}
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			require.NoError(t, dev.Run(ctx, func(ctx context.Context, hub *hubconn.Conn) error {
				for _, body := range []string{`{"temperature":21.5}`, "a second"} {
					if err := hub.Send(ctx, hubconn.Message{Body: []byte(body)}); err != nil {
						return err
					}
				}
				return nil
			}))
			require.Eventually(t, func() bool {
				return strings.Contains(p.stderr.String(), `msg="first message" hub=`)
			}, limit, 10*time.Millisecond, "%s", p.stderr)
			assert.Contains(
				t, p.stderr.String(), `deviceId=`+c.id+` bytes=20 body="{\"temperature\":21.5}"`,
			)
			time.Sleep(2 * 50 * time.Millisecond) // of the journal
			assert.Equal(t, 1, strings.Count(p.stderr.String(), `msg="first message"`))
		})
	}
}

func TestExportsWithoutAKeyLeaveTheDeviceOpen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "sim.env")
	p := start(t, "-config", write(t, "simulator.json", `{"enrollments":[],"enrollmentGroups":[]}`),
		"-env-file", file)
	defer p.stop(t)
	set := settings(t, file)
	assert.Contains(t, set[simdial.Variable], p.HTTPS)
	assert.Equal(t, p.IDScope, set["ID_SCOPE"])
	assert.NotContains(t, set, "DEVICE_KEY")
}
