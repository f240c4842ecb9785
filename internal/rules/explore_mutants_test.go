// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A mutant is a defect, put into the rules by replacing text. The exploration of a world must find
// it, and say what kind of violation it is.
type mutant struct {
	name, world, violation string
	changes                []change
	quick                  bool // also where not everything is tested
}

type change struct{ file, old, new string }

func mutants() []mutant {
	return []mutant{
		{
			name:  "an outage question that nobody answers does not count as asked",
			world: "lookups' port closed", violation: "bound", quick: true,
			changes: []change{{
				"dps.go", "t.outageAsked() // though nobody answered",
				"t.Outage.AskAt = time.Time{}; t.armOutage()",
			}},
		},
		{
			name:  "the beginning of an outage does not survive a restart",
			world: "two minutes at a time", violation: "bound",
			changes: []change{
				{"program.go", "if w.Outage.Silent > 0 {", "if false {"},
				{
					"waits.go", "if d.Pending() && d.Reason != ReasonManual {",
					"if d.Pending() && d.Reason != ReasonManual && d.Reason != ReasonOutage {",
				},
			},
		},
		{
			name:  "what one hub asks for holds for all",
			world: "new hub throttles", violation: "bound",
			changes: []change{
				{"hubs.go", "if SameHost(s.Hubs[i].Hub, host) {", "if s.Hubs[i].Hub != host+host {"},
			},
		},
		{
			name:  "one lost answer, and the time is not asked for again for an hour",
			world: "one answer lost", violation: "bound",
			changes: []change{
				{"clock.go", "	if t.Clock.Tries < limit {\n" +
					"		t.DPS.Silent = true\n" +
					"		t.armDPS(t.clockBackOff())\n" +
					"		return true\n" +
					"	}\n" +
					"	// It was not told, but is not to be asked for again for a while.\n" +
					"	t.Clock.ToldAt, t.Clock.GivenUp = t.now, true",
					"	if t.Clock.Tries < min(limit, 1) {\n		return true\n	}\n" +
						"	t.clockTold()"},
			},
		},
		{
			name:  "a hub that had accepted the device is taken to lag behind",
			world: "accepts, then rejects", violation: "lags",
			changes: []change{
				{"rejection.go", "case r.Accepted && !t.Urgent && r.Gap > 0:", "case false:"},
			},
		},
		{
			name:  "the time, once told, lifts what a hub asked for",
			world: "throttles a wrong clock", violation: "early", quick: true,
			changes: []change{
				{"clock.go", "	if !clockMayExplain(r.Class) {\n", "	if false {\n"},
			},
		},
		{
			name:  "a DPS that throttles is left alone for twice what the cap allows",
			world: "dps throttles for a while", violation: "bound",
			changes: []change{
				{"delay.go", "window := min(time.", "window := 2 * min(time."},
			},
		},
		{
			name:  "a question about an outage does not keep its time",
			world: "wrong dates, two minutes at a time", violation: "bound",
			changes: []change{{"hub.go", "	if t.Outage.AskAt.IsZero() {\n", "	if true {\n"}},
		},
		{
			name:  "a question about an outage does not wait for the hub where waits are unknown",
			world: "power goes", violation: "order",
			changes: []change{
				{"program.go", "		start = t.spreadBoot()\n", "		t.spreadBoot()\n"},
			},
		},
		{
			name:  "an attempt with a wrong clock outlives the correction",
			world: "clock is wrong after power goes", violation: "needless",
			changes: []change{
				{"clock.go", "	t.cancelConnect()\n	t.disarmDPS()\n", "	t.disarmDPS()\n"},
			},
		},
		{
			name:  "the old assignment is dropped for a new one that has not accepted yet",
			world: "hub rejects", violation: "forgotten",
			changes: []change{
				{"dps.go", "func (t *transition) moveTo(a Assignment) {\n	t.Candidate = a\n",
					"func (t *transition) moveTo(a Assignment) {\n	t.Candidate = a\n" +
						"	t.Confirmed = Assignment{}\n"},
			},
		},
		{
			name:  "what a hub asked for does not survive a restart",
			world: "hub is gone", violation: "early",
			changes: []change{
				{"waits.go", "NotBefore: now.Add(h.Asked), At: now.Add(h.In)", "At: now"},
			},
		},
		{
			name:  "the distance of two renewals does not survive a restart",
			world: "hub cannot renew", violation: "gap", quick: true,
			changes: []change{{"waits.go", "GapUntil: at(w.Gap), ", ""}},
		},
		{
			name:  "a device that is connected never registers for a certificate",
			world: "hub cannot renew", violation: "expired",
			changes: []change{
				{"renewal.go", "	if !t.mayRegister() {\n		return\n	}\n	at :=",
					"	if t.Connected || !t.mayRegister() {\n		return\n	}\n	at :="},
			},
		},
		{
			name:  "an expired certificate is shown to the hub first",
			world: "clock says expired", violation: "detour",
			changes: []change{
				{"renewal.go", "	r.HubHeldUntil = t.now.Add(ExpiredHold)\n", ""},
			},
		},
		{
			name:  "a hub that is briefly away leads to a registration",
			world: "hub is down, and dps issues", violation: "hasty",
			changes: []change{{"renewal.go", "		from = later(from, r.AwayUntil)\n", ""}},
		},
	}
}

// The exploration is worth what it finds.
func TestExploreFindsWhatIsBroken(t *testing.T) {
	if os.Getenv(oneWorld) != "" {
		t.Skip("this is the exploration of a mutant")
	}
	if testing.Short() {
		t.Skip("mutants take a compiler's time")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("mutants are compiled with the go command: ", err)
	}
	for _, m := range mutants() {
		if !m.quick && !everything() {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			command := exec.CommandContext(t.Context(), goTool, "test", "-count=1", "-overlay",
				m.overlay(t), "-run", "^TestExploreEveryWorld$", ".")
			command.Env = append(os.Environ(), oneWorld+"="+m.world)
			out, err := command.CombinedOutput()
			require.Error(t, err, "nothing was found")
			assert.Contains(t, string(out), "violation "+m.violation, "%.3000s", out)
		})
	}
}

// All of them are put in where few are explored, too: one whose line has changed would be found out
// late.
func TestEveryMutantChangesLinesThatAreThere(t *testing.T) {
	for _, m := range mutants() {
		t.Run(m.name, func(t *testing.T) { m.overlay(t) })
	}
}

// overlay writes the changed files, and what tells the go command to take them.
func (m *mutant) overlay(t *testing.T) string {
	dir := t.TempDir()
	here, err := filepath.Abs(".")
	require.NoError(t, err)
	replace := map[string]string{}
	for _, c := range m.changes {
		original, changed := filepath.Join(here, c.file), filepath.Join(dir, c.file)
		require.NotContains(t, replace, original, "one change a file")
		source, err := os.ReadFile(original)
		require.NoError(t, err)
		require.Equal(t, 1, strings.Count(string(source), c.old), "%s: %s", c.file, c.old)
		text := strings.Replace(string(source), c.old, c.new, 1)
		require.NoError(t, os.WriteFile(changed, []byte(text), 0o600))
		replace[original] = changed
	}
	list, err := json.Marshal(map[string]any{"Replace": replace})
	require.NoError(t, err)
	path := filepath.Join(dir, "overlay.json")
	require.NoError(t, os.WriteFile(path, list, 0o600))
	return path
}
