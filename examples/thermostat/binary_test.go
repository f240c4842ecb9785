// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestBinaryHoldsNeitherSimulatorNorTestCodeNorC(t *testing.T) {
	list := exec.Command("go", "list", "-deps", ".")
	list.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=arm", "GOARM=6")
	out, err := list.Output()
	require.NoError(t, err)
	linked := strings.Fields(string(out))
	assert.Contains(t, linked, "github.com/rehome-iot/rehome/provisioning")
	for _, name := range linked {
		for _, unwanted := range []string{
			"dpstest", "hubtest", "cachetest", "mqttserver", "memnet", "testify",
			"net/http/httptest", "runtime/cgo", "net/http/pprof",
		} {
			assert.NotContains(t, name, unwanted)
		}
		assert.NotEqual(t, "testing", name)
	}
}

func TestDocumentationNamesEveryFlag(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	s := newOptions()
	for _, o := range s.Options() {
		row := "| `" + strings.TrimSpace("-"+o.Name+" "+strings.ReplaceAll(o.Value, "|", `\|`)) +
			"` | `" + s.EnvName(o.Name) + "` |"
		assert.Contains(t, string(readme), row)
	}
	unit, err := os.ReadFile("thermostat.env")
	require.NoError(t, err)
	for _, line := range strings.Split(string(unit), "\n") {
		name, _, ok := strings.Cut(strings.TrimPrefix(line, "#"), "=")
		if !ok || !strings.HasPrefix(name, "THERMOSTAT_") {
			continue
		}
		known := false
		for _, o := range s.Options() {
			known = known || s.EnvName(o.Name) == name
		}
		assert.True(t, known, "thermostat.env: %s", name)
	}
}

func TestModelDescribesTheProgram(t *testing.T) {
	data, err := os.ReadFile("model.json")
	require.NoError(t, err)
	var model struct {
		ID       string `json:"@id"`
		Contents []struct {
			Type     any `json:"@type"`
			Name     string
			Writable bool
		}
	}
	require.NoError(t, json.Unmarshal(data, &model))
	assert.Equal(t, modelID, model.ID)
	var commands, writable []string
	for _, c := range model.Contents {
		if c.Type == "Command" {
			commands = append(commands, c.Name)
		}
		if c.Writable {
			writable = append(writable, c.Name)
		}
	}
	assert.ElementsMatch(t, slices.Collect(maps.Keys((&thermostat{}).methods())), commands)
	assert.Equal(t, []string{targetName, reprovisionName}, writable)
}
