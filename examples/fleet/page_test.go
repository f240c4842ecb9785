// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"flag"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/fleet/report"
)

var update = flag.Bool("update", false, "write what is played into the tables of the documents")

// mostDevices are those of a row that is played with REHOME_TESTS=figures; with million, the others
// are. Else those are that take a moment.
const mostDevices = 20_000

func plays(t *table, r *row) bool {
	n := r.devices()
	switch os.Getenv("REHOME_TESTS") {
	case "figures":
		return n <= mostDevices
	case "million":
		return n > mostDevices
	}
	return t.name == "rollout" && !raceDetector
}

// Every row of the tables has the command that makes it, and says what that makes. After a change
// that is meant, `make fleet-page` writes them anew, and `bash .ci/run million` those of a million.
func TestTheTablesSayWhatTheirCommandsMake(t *testing.T) {
	if os.Getenv("REHOME_TESTS") == "million" {
		t.Skip("TestAMillionDevices plays them")
	}
	playTables(t, newPlayer(t.Context(), os.Stderr))
}

func playTables(t *testing.T, p *player) {
	for i := range tables {
		table := &tables[i]
		name := filepath.Join(docs, table.page)
		page := read(t, name)
		played := map[string]string{}
		for j := range table.rows {
			if r := &table.rows[j]; plays(table, r) {
				line, err := p.line(table, r)
				require.NoError(t, err, "table %s, row %s", table.name, r.text)
				played[r.text] = line
			}
		}
		if *update {
			page, err := table.with(page, played)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(name, []byte(page), 0o644))
			continue
		}
		told, err := table.lines(page)
		require.NoError(t, err)
		for text, line := range played {
			if !table.measured {
				require.Equal(t, told[text], line, "table %s of %s; make fleet-page writes it",
					table.name, table.page)
			}
		}
	}
	name := filepath.Join(docs, "fleet.md")
	page := read(t, name)
	judged, err := withTargets(page)
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(name, []byte(judged), 0o644))
		return
	}
	require.True(t, judged == page, "the targets are not what the tables say: make fleet-page")
}

func TestATableIsPrintedByItsName(t *testing.T) {
	code, _, stderr := fleet(t, "-table", "x")
	require.Equal(t, 2, code)
	require.Contains(t, stderr, `-table "x" is unknown: use million, figures, rollout, rivals, windows`)
	small := table{
		head: "| a | b |\n|---|---|\n", cells: rolloutCells,
		rows: []row{{"few", []string{"-scenario move -devices 100 -quota 10", "-devices 10"}}},
	}
	var out bytes.Buffer
	require.NoError(t, small.print(t.Context(), &out, os.Stderr))
	require.Regexp(t, `(?s)\| b \|\n\|---\|---\|\n\| few \| \d.* \| \d.* \| \d.* \| \d.* \| 0 \| 0 \|\n$`,
		out.String())
}

func TestCellsSayNoMoreThanTheyKnow(t *testing.T) {
	for x, want := range map[float64]string{
		0: "0", 0.004: "0.00", 1.06: "1.06", 2.31: "2.3", 99.94: "99.9", 99.96: "100",
		1999.4: "1,999", 1234567: "1,234,567",
	} {
		require.Equal(t, want, share(x))
		if x > 1 {
			require.InEpsilon(t, x, numberIn(want), 0.02)
		}
	}
	const h, m, s = time.Hour, time.Minute, time.Second
	for want, to := range map[string][]time.Duration{
		"6 min 18 s":   {6*m + 18*s + s/3},
		"18 h 22 min":  {18*h + 21*m + 50*s},
		"294-298 s":    {296 * s, 294 * s, 298 * s},
		"18.5-18.7 h":  {18*h + 40*m, 18*h + 33*m, 18*h + 32*m},
		"17.7 h":       {17*h + 41*m, 17*h + 42*m},
		"never":        {0},
		"19 h 0 min":   {18*h + 59*m + 40*s, 18*h + 59*m + 40*s},
		"1 min 0 s":    {59*s + 600*time.Millisecond},
		"2 h 0 min":    {2 * h},
		"0 min 1 s":    {s},
		"119 min 59 s": {2*h - s},
	} {
		var all []report.Figures
		for _, d := range to {
			all = append(all, report.Figures{To999: d, OfOptimum: d.Hours()})
		}
		require.Equal(t, want, arrival(all))
	}
	require.Equal(t, "0.23-12.0", span([]report.Figures{
		{Wasted: 12.04}, {Wasted: 0.23}, {Wasted: 9.9},
	}, wasted), "by number, and not by letter")
	require.Equal(t, "1.06-never", span([]report.Figures{
		{}, {Reached: true, To999: h, OfOptimum: 1.06},
	}, optimum))
	require.True(t, math.IsInf(numberIn("1.06-never"), 1), "who never arrives misses targets")
}

// A page whose rows are not those of the commands is found out, and so is a verdict that is not
// what the figures say.
func TestATableThatWasTypedIsFoundOut(t *testing.T) {
	page := read(t, docs+"/fleet.md")
	for old, other := range map[string]string{
		"| `move-hint` |":     "| `move-hunt` |",
		"<!-- figures -->":    "",
		"| over a minute | ":  "",
		"| optimum | to DPS ": "| to DPS ",
	} {
		require.Contains(t, page, old)
		wrong := strings.Replace(page, old, other, 1)
		failed := 0
		for i := range tables {
			if tables[i].page != "fleet.md" {
				continue
			}
			if _, err := tables[i].lines(wrong); err != nil {
				failed++
			}
		}
		require.Positive(t, failed, old)
	}
	hint, err := figure{"million", "`move-hint`", "optimum", 0}.cell(page)
	require.NoError(t, err)
	line := "| `move-hint` | 17 h 41 min | "
	require.Contains(t, page, line+hint)
	judged, err := withTargets(strings.Replace(page, line+hint, line+"1.11", 1))
	require.NoError(t, err)
	require.Regexp(t, `(?m)^\| a move whose Stagger DPS said .* \| 1\.11; .* \| missed \|$`, judged)
}
