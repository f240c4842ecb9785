// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCommandsAreReadFromTheReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	got, err := commandsOf(string(readme))
	require.NoError(t, err)
	assert.Equal(t, []string{"go run ./examples/quickstart", "go test ./..."}, got)
	for name, text := range map[string]string{
		"no mark":   "# x\n```sh\ngo run .\ngo test ./...\n```\n",
		"not there": "# x\n<!-- commands -->\ntext\n```sh\ngo run .\ngo test ./...\n```\n",
		"one":       "# x\n<!-- commands -->\n```sh\ngo test ./...\n```\n",
		"three":     "# x\n<!-- commands -->\n```sh\ngo run .\ngo test ./...\nls\n```\n",
		"no test":   "# x\n<!-- commands -->\n```sh\ngo run .\ngo vet ./...\n```\n",
		"open":      "# x\n<!-- commands -->\n```sh\ngo run .\ngo test ./...\n",
	} {
		_, err := commandsOf(text)
		assert.Error(t, err, name)
	}
}

func TestStepsAreReadFromATable(t *testing.T) {
	assert.Equal(t, []string{"First boot", "Moved to another hub"}, stepsOf(
		"1. First boot    1/1   1/1\nx\n2. Moved to another hub   0/0   1/1  ok\n"+
			"3. A sentence of 1/2.\n"))
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	assert.Len(t, stepsOf(string(readme)), 7)
}

func TestASuiteThatDidNotRunIsSeen(t *testing.T) {
	const line = "ok  \tgithub.com/rehome-iot/rehome/internal/officialclients\t0.011s"
	assert.False(t, notRun.MatchString(line+"\n"))
	assert.True(t, notRun.MatchString("x\n"+line+" [no tests to run]\n"))
}

func TestOnlyThePackagesThatFailedAreShown(t *testing.T) {
	log := "=== RUN   TestA\n    a_test.go:1: well\n--- PASS: TestA (0.00s)\nPASS\n" +
		"ok  \tp/a\t0.1s\n" +
		"=== RUN   TestB\n    b_test.go:1: not well\n--- FAIL: TestB (0.00s)\nFAIL\n" +
		"FAIL\tp/b\t0.1s\n" +
		"?   \tp/c\t[no test files]\npanic: in the middle\n"
	assert.Equal(t, "    b_test.go:1: not well\n--- FAIL: TestB (0.00s)\nFAIL\nFAIL\tp/b\t0.1s\n"+
		"panic: in the middle\n", failures(log))
}

func TestTargetsAreThoseOfTheirPackage(t *testing.T) {
	list := "FuzzA\nFuzzB\nok  \tp/a\t0.1s\n?   \tp/b\t[no test files]\nok  \tp/c\t0.1s\n" +
		"FuzzD\nok  \tp/d\t0.1s\n"
	got := targetsOf(list, []string{"p/d", "p/e"})
	assert.Equal(t, []target{
		{"p/a", "FuzzA", false}, {"p/a", "FuzzB", false}, {"p/d", "FuzzD", true},
	}, got)
	t.Setenv("FUZZTIME", "")
	assert.Equal(t, "10s", got[2].time(), "what reads the bytes of strangers in a device")
	t.Setenv("FUZZTIME", "1m")
	assert.Equal(t, "1m", got[0].time())
}

// No target is forgotten for being in a module of its own.
func TestTargetsAreFoundInEveryModule(t *testing.T) {
	if _, err := os.Stat("../../.git"); err != nil {
		t.Skip("it is git that knows the modules")
	}
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip(err)
	}
	t.Chdir("../..")
	modules, err := ownModules()
	require.NoError(t, err)
	dirs, declared, err := fuzzed(modules)
	require.NoError(t, err)
	assert.Greater(t, declared, 60)
	assert.Contains(t, dirs["."], "provisioning/dps")
	for _, module := range deviceModules {
		assert.Contains(t, dirs[module], module)
		assert.NotContains(t, dirs["."], module)
	}
	targets, err := targetsIn("examples/ownclient", dirs["examples/ownclient"])
	require.NoError(t, err)
	assert.Equal(t, []target{
		{"github.com/rehome-iot/rehome/examples/ownclient", "FuzzTranslation", true},
	}, targets)
	assert.Equal(t, filepath.FromSlash("examples/ownclient"), targets[0].dir())
}

func TestTestsOfDeviceAreFound(t *testing.T) {
	names, err := deviceTests("../../provisioning")
	require.NoError(t, err)
	assert.Greater(t, len(names), 50)
	_, err = deviceTests(t.TempDir())
	assert.Error(t, err)
}

func TestEndIsWhatALogEndsWith(t *testing.T) {
	assert.Equal(t, "b\nc\n", last(3, "a\nb\nc\n"))
	assert.Equal(t, "a\n", last(10, "a\n"))
}
