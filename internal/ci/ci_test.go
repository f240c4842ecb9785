package main

import (
	"os"
	"strings"
	"testing"
	"time"

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
	assert.Equal(t, []target{{"p/a", "FuzzA"}, {"p/a", "FuzzB"}, {"p/d", "FuzzD"}}, targetsOf(list))
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

func TestFiguresOfBenchmarksGoIntoTheirTables(t *testing.T) {
	const log = "cpu: Little One\nBenchmarkSend/64B/inflight=1-2   \t  28\t  56214 ns/op\t " +
		"0.98891 x-paho\t 39 allocs/op\nBenchmarkBoot/conn \t 1\t 663.0 bytes-up\nPASS\n"
	found := figuresOf(log)
	assert.Equal(t, map[string]figures{
		"Send/64B/inflight=1": {"ns/op": "56214", "x-paho": "0.989", "allocs/op": "39"},
		"Boot/conn":           {"bytes-up": "663"},
	}, found)

	const page = "# x\nMeasured never.\n\n| what | target |\n| --- | --- |\n| `a` | 1 |\n\n" +
		"| `Send` | x-paho | was |\n| --- | --- | --- |\n| `64B/inflight=1` | ? | 0.5 |\n\n" +
		"| `Boot` | bytes-up |\n| --- | --- |\n| `conn` | 1 |\n"
	updated, err := withFigures(page, found)
	require.NoError(t, err)
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	updated = withMachine(updated, log, now)
	assert.Contains(t, updated, "| `a` | 1 |\n")
	assert.Contains(t, updated, "| `64B/inflight=1` | 0.989 | 0.5 |\n")
	assert.Contains(t, updated, "| `conn` | 663 |\n")
	assert.Regexp(t, `(?m)^Measured on 2026-11-29: go.*, Little One, \d+ processors\.$`, updated)

	for name, change := range map[string][2]string{
		"no benchmark": {"64B", "65B"}, "no unit": {"x-paho", "x-pahoo"},
		"no row": {"| `conn` | 1 |\n", ""}, "cell missing": {"| ? ", ""},
	} {
		_, err := withFigures(strings.Replace(page, change[0], change[1], 1), found)
		assert.Error(t, err, name)
	}
}
