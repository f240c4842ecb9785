// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	benchLog = "cpu: Little One\nBenchmarkSend/64B/inflight=1-2   \t  28\t  56214 ns/op\t " +
		"0.98891 x-paho\t 39 allocs/op\nBenchmarkBoot/conn \t 1\t 663.0 bytes-up\nPASS\n" +
		"BenchmarkSend/64B/inflight=1-2 \t 28\t 56214 ns/op\t 1.2 x-paho\t 39 allocs/op\n" +
		"BenchmarkSend/64B/inflight=1-2 \t 28\t 56214 ns/op\t 1.0 x-paho\t 39 allocs/op\n" +
		"BenchmarkFleet-2 \t 1\t 10000 devices\n"

	benchText = "# x\nMeasured on no day;\nhere.\n\n" +
		"Measured is\nthe worst.\n\n" + targetHead + "\n" +
		"| --- | --- | --- | --- | --- |\n| sent | ≥ 1.1 | `Send/64B/*` x-paho | | |\n" +
		"| bytes | ≤ 700 | `Boot/conn` bytes-up | | |\n\n" +
		"| `Send` | x-paho | allocs/op |\n| --- | --- | --- |\n| `64B/inflight=1` | ? | |\n\n" +
		"| `Boot` | bytes-up |\n| --- | --- |\n| `conn` | 1 |\n\n" +
		"| `Fleet` | devices |\n| --- | --- |\n| `all` | |\n"
)

func TestFiguresOfBenchmarksGoIntoTheirTables(t *testing.T) {
	found := map[string]figures{}
	addFigures(found, benchLog)
	assert.Equal(t, figures{"bytes-up": {663}}, found["Boot/conn"])
	assert.Equal(t, []float64{0.98891, 1.2, 1}, found["Send/64B/inflight=1"]["x-paho"])

	updated, err := withFigures(benchText, found)
	require.NoError(t, err)
	assert.Contains(t, updated, "| `64B/inflight=1` | 1 ±11% | 39 |\n")
	assert.Contains(t, updated, "| `conn` | 663 |\n")
	assert.Contains(t, updated, "| `all` | 10000 |\n")
	updated, err = withVerdicts(updated, found)
	require.NoError(t, err)
	assert.Contains(t, updated, "| sent | ≥ 1.1 | `Send/64B/*` x-paho | 1 | **missed** |\n")
	assert.Contains(t, updated, "| bytes | ≤ 700 | `Boot/conn` bytes-up | 663 | met |\n\n|")
	assert.ErrorContains(t, unexplained(updated), `"sent" is missed`)
	explained := updated + "\n- **sent**: too slow\n"
	assert.NoError(t, unexplained(explained))
	assert.ErrorContains(t, unexplained(explained+"- **bytes**: too many\n"), `"bytes" is missed, but`)
	assert.ErrorContains(t, unexplained(explained+"- **speed**: none\n"), `"speed" is missed, but`)
	now := time.Date(2026, 11, 29, 0, 0, 0, 0, time.UTC)
	updated = withMachine(updated, benchLog, "0.42 0.5 1/2 3", runs(3, "1s"), now)
	assert.Contains(t, updated, "\n\nMeasured is\nthe worst.\n")
	assert.Regexp(t, `(?m)^Measured on 2026-11-29: go.*, Little One, \d+ processors;\n`+
		`3 runs of 1s, load average before them 0\.42\.\n\n`, updated)

	for name, change := range map[string][2]string{
		"no benchmark": {"| `64B", "| `65B"}, "no unit": {"| x-paho", "| x-pahoo"},
		"no row": {"| `conn` | 1 |\n", ""}, "cell missing": {"| ? ", ""},
	} {
		_, err := withFigures(strings.Replace(benchText, change[0], change[1], 1), found)
		assert.Error(t, err, name)
	}
	for name, change := range map[string][2]string{
		"no target": {"≥ 1.1", "more"}, "nothing of it": {"64B/*` x", "65B/*` x"},
		"no such unit": {"` x-paho", "` x-pahoo"}, "no table": {"verdict", "word"},
		"a cell too few": {"| bytes | ", "| "},
	} {
		_, err := withVerdicts(strings.Replace(benchText, change[0], change[1], 1), found)
		assert.Error(t, err, name)
	}
}

func TestOneRunIsNotSeveral(t *testing.T) {
	assert.Equal(t, "1 run of 200ms", runs(1, "200ms"))
	assert.Equal(t, "2 runs of 1s", runs(2, "1s"))
}

func TestWhatAnEmulatorHasNotTestedIsSeen(t *testing.T) {
	const tested = "=== RUN   TestA\n--- PASS: TestA (0.01s)\n=== RUN   TestB\n" +
		"    b_test.go:1: it waits\n--- SKIP: TestB (0.00s)\n    --- SKIP: TestC/d (0.00s)\nPASS\n"
	const ok = "ok  \tgithub.com/rehome-iot/rehome/p\t0.02s\n"
	all := strings.Repeat(tested+ok, len(alike))
	result, err := emulated(all)
	require.NoError(t, err)
	n := len(alike)
	assert.Equal(t, emulation{packages: n, passed: n, skipped: 2 * n}, result)
	_, err = emulated(strings.Replace(all, ok, "?   \tp\t[no test files]\n", 1))
	assert.ErrorContains(t, err, "packages were tested")
	_, err = emulated(strings.Replace(all, "0.02s\n", "0.02s [no tests to run]\n", 1))
	assert.ErrorContains(t, err, "no tests to run")
}

// The page's tables name benchmarks that there are, and only those; what is missed is explained.
func TestThePageAndItsBenchmarksAreAlike(t *testing.T) {
	page, err := os.ReadFile("../../" + benchPage)
	require.NoError(t, err)
	sources := map[string]bool{"Size": true, "Emulated": true}
	for _, from := range benchmarked {
		files, err := filepath.Glob(filepath.Join("../..", from.pkg, "*_test.go"))
		require.NoError(t, err)
		var all strings.Builder
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			all.Write(text)
		}
		for name := range strings.SplitSeq(from.names, "|") {
			sources[name] = true
			assert.Contains(t, all.String(), "\nfunc Benchmark"+name+"(b *testing.B)", from.pkg)
		}
	}
	shown := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)"+benchTable.String()).FindAllStringSubmatch(
		string(page), -1) {
		shown[m[1]] = true
	}
	assert.Equal(t, sources, shown)
	assert.Len(t, measuredOn.FindAllString(string(page), -1), 1)
	require.NoError(t, unexplained(string(page)))

	// The figures that are not of benchmarks have their rows as well.
	other := map[string]figures{}
	require.NoError(t, (&workshop{}).otherFigures(other, false))
	for name := range other {
		_, row, _ := strings.Cut(name, "/")
		assert.Contains(t, string(page), "\n| `"+row+"` |", name)
	}
}
