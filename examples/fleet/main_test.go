// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/report"
	"github.com/rehome-iot/rehome/examples/fleet/scenario"
)

func fleet(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestAWrongFlagEndsInOneLineThatNamesItAndTheFix(t *testing.T) {
	for flags, want := range map[string]string{
		"-devices 0":             "-devices 0: use 1 to 1000000",
		"-devices 2000000":       "-devices 2000000: use 1 to 1000000",
		"-seeds 0":               "-seeds 0: use 1 to 100",
		"-quota 0":               "-quota 0: use 1 or more",
		"-quota NaN":             "-quota NaN: use 1 or more",
		"-hub-rate -1":           "-hub-rate -1: use 1 or more",
		"-reject-cost 2":         "-reject-cost 2: use 0 to 1",
		"-latency 2s":            "-latency 2s: use 0 to 1s",
		"-boot-spread 25h":       "-boot-spread 25h0m0s: use 0 to 24h",
		"-stagger -1s":           "-stagger -1s: use 0 to 720h",
		"-until -1s":             "-until -1s: use a time ahead, or 0 for none",
		"-retry-after -1s":       "-retry-after -1s: use 0 to 24h",
		"-throttle-factor -1":    "-throttle-factor -1: use 0 to 100",
		"-throttle-cap 1s":       "-throttle-cap 1s: use 1m to 24h",
		"-window sliding":        `-window "sliding": use fixed or bucket`,
		"-scenario x":            `-scenario "x" is unknown: fleet -list shows them`,
		"-rival x":               `-rival "x" is unknown: use csharp,`,
		"-rival c -scenario all": "-rival: the scenario move-stagger is for the library's rules",
		"-phases 0":              `-phases "0": use a number of devices a minute, or plan`,
		"-phases 9":              "-phases: add -scenario phases",
		"-devices 0 -seeds 0":    "-devices 0: use 1 to 1000000",
		"-x":                     "flag provided but not defined: -x: see -help",
		"reboot":                 `argument "reboot" is not a flag: see -help`,
	} {
		code, stdout, stderr := fleet(t, strings.Fields(flags)...)
		require.Equal(t, 2, code, flags)
		require.Empty(t, stdout)
		require.Contains(t, stderr, want)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
	}
}

func TestHelpAndListNameEverything(t *testing.T) {
	code, _, stderr := fleet(t, "-help")
	require.Zero(t, code)
	require.Contains(t, stderr, "-reject-cost")
	code, stdout, _ := fleet(t, "-list")
	require.Zero(t, code)
	for _, s := range scenario.All {
		require.Contains(t, stdout, s.Name+" ")
	}
}

// The same seed makes the same table and the same files: pictures can be compared.
func TestARunIsTheSameEachTime(t *testing.T) {
	var tables, csvs, svgs []string
	for range 2 {
		dir := t.TempDir()
		csv, svg := filepath.Join(dir, "f.csv"), filepath.Join(dir, "f.svg")
		code, stdout, stderr := fleet(t, "-scenario", "move", "-devices", "500", "-quota", "50",
			"-rival", "python", "-csv", csv, "-svg", svg)
		require.Zero(t, code, stderr)
		require.Empty(t, stderr, "no progress where there is no terminal")
		tables, csvs = append(tables, stdout), append(csvs, read(t, csv))
		svgs = append(svgs, read(t, svg))
	}
	require.Equal(t, tables[0], tables[1])
	require.Equal(t, csvs[0], csvs[1])
	require.Equal(t, svgs[0], svgs[1])
	require.Contains(t, tables[0], "move python")
	require.Regexp(t, `(?m)^second,registrations,.*\n0,`, csvs[0])
	require.Contains(t, svgs[0], "DPS, × quota")
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(data)
}

// Most of the work lies in the first moments of virtual time.
func TestProgressIsShownFromTheBeginningByTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := parse([]string{"-scenario", "move", "-devices", "100"}, io.Discard)
		require.NoError(t, err)
		var shown bytes.Buffer
		c.progress = true
		p := c.plays()[0]
		done := c.watch(p, &shown)
		told, first := p.Progress, time.Duration(-1)
		p.Progress = func(now time.Duration, m *report.Measure) {
			if first < 0 {
				first = now
			}
			told(now, m)
		}
		_, _, err = p.Run(t.Context()) // takes no time here
		require.NoError(t, err)
		require.Less(t, first, 5*time.Second)
		require.Equal(t, 1, strings.Count(shown.String(), "have arrived"), "once for each 200 ms")
		require.Contains(t, shown.String(), "move, seed 1: 0s of virtual time, 0.00 % have arrived")
		time.Sleep(200 * time.Millisecond)
		p.Progress(90*time.Second, report.NewMeasure(p.Aim))
		require.Contains(t, shown.String(), "1m30s of virtual time")
		done()
		require.True(t, strings.HasSuffix(shown.String(), "\r\033[K"), "the line is gone")
	})
}

func TestAnInterruptedRunPrintsWhatItHas(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	code := run(ctx, []string{"-scenario", "move", "-devices", "100"}, &out, &errs)
	require.Equal(t, 130, code)
	require.Contains(t, out.String(), "never")
	require.Contains(t, errs.String(), "interrupted")
}

// Whatever a scenario takes of itself, and however long nothing happens, the flag ends it.
func TestUntilEndsEveryScenario(t *testing.T) {
	for _, s := range scenario.All {
		for until, want := range map[string]int{"1m": 60, "3m": 180} {
			name := filepath.Join(t.TempDir(), "f.csv")
			code, stdout, stderr := fleet(t, "-scenario", s.Name, "-until", until,
				"-devices", "500", "-quota", "25", "-hub-rate", "1", "-csv", name)
			require.Zero(t, code, stderr)
			require.Contains(t, stdout, "never", s.Name)
			seconds := strings.Count(read(t, name), "\n") - 1
			require.LessOrEqual(t, seconds, want, "%s until %s", s.Name, until)
			if s.Name != scenario.Phases || want > 60 { // where nothing happens in the first minute
				require.Greater(t, seconds, want/2, "%s until %s", s.Name, until)
			}
		}
	}
}

func TestAFileThatCannotBeWrittenIsNamed(t *testing.T) {
	name := filepath.Join(t.TempDir(), "none", "f.svg")
	code, stdout, stderr := fleet(t, "-devices", "10", "-svg", name)
	require.Equal(t, 1, code)
	require.Contains(t, stdout, "reboot", "what was played is shown all the same")
	require.Contains(t, stderr, "-svg: open "+name)
}
