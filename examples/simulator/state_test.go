// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

const stateConfig = `{"enrollments": [{"registrationId":"kitchen","attestation":{"symmetricKey":{"primaryKey":"` + key + `"}},
	"initialTwin":{"properties":{"desired":{"target":20}}}}],` + little + `}`

func TestStateSurvivesARestart(t *testing.T) {
	t.Parallel()
	state, config, ca := filepath.Join(t.TempDir(), "state.json"),
		write(t, "simulator.json", stateConfig), t.TempDir()
	p := start(t, "-config", config, "-state", state, "-ca-dir", ca)
	before := p.ready
	a := p.register(t, "kitchen")
	_, err := p.connect(t, a, "kitchen").Report(t.Context(), map[string]any{"firmware": "1.1"})
	require.NoError(t, err)
	p.stop(t)
	info, err := os.Stat(state)
	require.NoError(t, err)
	assert.Zero(t, info.Mode().Perm()&0o077, "others can read the keys in the state")

	p = start(t, "-config", config, "-state", state, "-ca-dir", ca)
	defer p.stop(t)
	assert.Equal(t, before.ServiceConnectionString, p.ServiceConnectionString)
	assert.Equal(t, before.HubConnectionStrings, p.HubConnectionStrings)
	again := p.lookup(t, "kitchen")
	assert.Equal(t, a.Hub, again.Hub)
	assert.Equal(t, a.Created, again.Created)
	twin, err := p.connect(t, again, "kitchen").Twin(t.Context()) // without a new registration
	require.NoError(t, err)
	assert.JSONEq(t, `{"firmware":"1.1"}`, string(twin.Reported.JSON))
	assert.JSONEq(t, `{"target":20}`, string(twin.Desired.JSON))
}

func TestStateSurvivesAKill(t *testing.T) {
	t.Parallel()
	state, config := filepath.Join(t.TempDir(), "state.json"),
		write(t, "simulator.json", stateConfig)
	p := start(t, "-config", config, "-state", state)
	before, err := os.ReadFile(state)
	require.NoError(t, err)
	a := p.register(t, "kitchen")
	require.Eventually(t, func() bool { // it is written by itself
		now, err := os.ReadFile(state)
		return err == nil && string(now) != string(before)
	}, limit, 50*time.Millisecond)
	require.NoError(t, os.WriteFile(state+".new-123", []byte(key), 0o600)) // as if it was writing
	require.NoError(t, os.WriteFile(state+".bak", nil, 0o600))
	require.NoError(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait()
	p.ended = true

	p = start(t, "-config", config, "-state", state)
	defer p.stop(t)
	assert.Equal(t, a.Hub, p.lookup(t, "kitchen").Hub)
	left, err := filepath.Glob(state + ".*")
	require.NoError(t, err)
	assert.Equal(t, []string{state + ".bak"}, left, "only what it made itself is removed")
}

func (p *program) lookup(t *testing.T, id string) dps.Assignment {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	a, err := p.client(t, id).Lookup(ctx)
	require.NoError(t, err, p.stderr)
	return a
}
