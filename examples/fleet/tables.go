// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/report"
)

// table is one of the documents. Between its marks stand its head and a line of each row.
type table struct {
	name, page string
	head       string
	cells      func(f []report.Figures) []string // of a play, with one or more seeds
	rows       []row
	measured   bool // by a clock: another run sees something else
}

// row is a line of a table: what its first cell says, and the arguments of each play whose cells
// follow.
type row struct {
	text  string
	plays []string
}

// The quotas for 20,000 devices that make all take as long as for a million.
const scaled = " -devices 20000 -quota 20 -hub-rate 120"

const head = `| Scenario | 99.9 % after | optimum | to DPS | wasted | worst min | time | all min |
|---|---:|---:|---:|---:|---:|---:|---:|
`

var tables = []table{
	{name: "million", page: "fleet.md", head: head, cells: figureCells, rows: ofAMillion},
	{name: "figures", page: "fleet.md", head: head, cells: figureCells, rows: []row{
		{"`hub-down`, 3 seeds", one("hub-down" + scaled + " -seeds 3")},
		{"`move`, 3 seeds", one("move" + scaled + " -seeds 3")},
		{"over a minute", one("move" + scaled + " -boot-spread 1m")},
		{"token bucket", one("move" + scaled + " -window bucket")},
		{"a rejection costs 1 %", one("move" + scaled + " -reject-cost 0.01")},
		{"the same, token bucket", one("move" + scaled + " -reject-cost 0.01 -window bucket")},
		{"Retry-After 1 s, 3", one("move" + scaled + " -retry-after 1s -seeds 3")},
		{"Retry-After 5 min", one("move" + scaled + " -retry-after 5m")},
		{"`-same-seed`", one("move" + scaled + " -same-seed")},
		{"`move-stagger`, 3", one("move-stagger" + scaled + " -seeds 3")},
		{"with certificates, 3", one("move-stagger" + scaled + " -x509 -seeds 3")},
		{"a wrong Stagger, 3", one("move-wrong-stagger" + scaled + " -seeds 3")},
		{"`dps-down`, 3 seeds", one("dps-down" + scaled + " -seeds 3")},
		{"`dps-failing`", one("dps-failing" + scaled)},
		{"`dps-down-warm`", one("dps-down-warm" + scaled)},
		{"`crash`", one("crash" + scaled)},
		{"`crash-move`", one("crash-move" + scaled)},
	}},
	{
		name: "rollout", page: "fleet.md", cells: rolloutCells,
		head: "| released, of the quota | 99.9 %, optimum | wasted | worst min |\n" +
			"|---:|---:|---:|---:|\n",
		rows: []row{
			{"50 %", released(100)}, {"80 %", released(160)}, {"95 %", released(190)},
			{"100 %", released(200)}, {"105 %", released(210)}, {"120 %", released(240)},
		},
	},
	{
		name: "rivals", page: "fleet.md", cells: rivalCells,
		head: "| All must register | 99.9 %, optimum | wasted | worst min | in 1 s |\n" +
			"|---|---:|---:|---:|---:|\n",
		rows: []row{
			{"this library", rivalled("")},
			{"C#, Java", rivalled("csharp")},
			{"Node", rivalled("node")},
			{"Python", rivalled("python")},
			{"C", rivalled("c")},
			{"C for embedded devices", rivalled("embedded-c")},
			{"the unified SDK's preview, restarted", rivalled("unified")},
			{"the same, running: `REPROVISION`", rivalled("unified-reprovision")},
			{"the same, running: `RETRY_HUB`, its default", rivalled("unified-retry-hub")},
		},
	},
	{
		name: "windows", page: "rules.md", cells: windowCells,
		head: "| window | 10,000 devices | 100,000 | 1,000,000 | 10,000,000 |\n" +
			"| --- | --- | --- | --- | --- |\n",
		rows: []row{
			{"doubling to 1 h", windows("0", "1h")},
			{"2·t, 4 h", windows("2", "4h")},
			{"**3·t, 4 h**", windows("3", "4h")},
			{"4·t, 4 h", windows("4", "4h")},
			{"3·t, 2 h", windows("3", "2h")},
			{"3·t, 3 h", windows("3", "3h")},
			{"3·t, 5 h", windows("3", "5h")},
		},
	},
	{
		name: "durations", page: "fleet.md", cells: durationCells, rows: ofAMillion, measured: true,
		head: "| Scenario | took | in a minute | memory |\n|---|---:|---|---:|\n",
	},
}

var ofAMillion = []row{
	{"`reboot`", million("reboot")},
	{"`reboot`, over a minute", million("reboot -boot-spread 1m")},
	{"`clock-1970`", million("clock-1970")},
	{"`hub-down`", million("hub-down")},
	{"`move-stagger`", million("move-stagger")},
	{"`move-hint`", million("move-hint")},
	{"`move`", million("move")},
	{"`dps-down`", million("dps-down")},
	{"`phases`", million("phases")},
	{"`crash`", million("crash")},
	{"`crash-move`", million("crash-move")},
}

func one(args string) []string { return []string{"-scenario " + args} }

func million(args string) []string { return one(args + " -devices 1000000") }

func released(aMinute int) []string {
	return one(fmt.Sprintf("phases -devices 20000 -quota 200 -hub-rate 1200 -phases %d", aMinute))
}

func rivalled(name string) []string {
	args := "move -devices 2000 -quota 2 -hub-rate 12"
	if name != "" {
		args += " -rival " + name
	}
	return one(args)
}

// windows are the plays with one window, of ten times as many devices each.
func windows(factor, most string) (plays []string) {
	for _, quotas := range []string{
		"-quota 1000 -hub-rate 6000", "-quota 100 -hub-rate 600", "-quota 10 -hub-rate 60",
		"-quota 1 -hub-rate 6",
	} {
		plays = append(plays, "-scenario move -x509 -devices 10000 "+quotas+
			" -throttle-factor "+factor+" -throttle-cap "+most)
	}
	return plays
}

func figureCells(all []report.Figures) []string {
	return []string{
		arrival(all),
		span(all, optimum),
		span(all, func(f *report.Figures) string { return share(f.Registrations) }),
		span(all, wasted), span(all, worst),
		span(all, func(f *report.Figures) string { return share(f.Clock) }),
		share(slices.MaxFunc(all, func(a, b report.Figures) int {
			return cmp.Compare(a.AllMinute, b.AllMinute)
		}).AllMinute),
	}
}

func rolloutCells(all []report.Figures) []string {
	return []string{span(all, optimum), span(all, wasted), span(all, worst)}
}

func rivalCells(all []report.Figures) []string {
	return append(rolloutCells(all), span(all, func(f *report.Figures) string {
		return fmt.Sprintf("%.0f %%", 100*f.Share)
	}))
}

func windowCells(all []report.Figures) []string {
	return []string{span(all, wasted) + "; " + span(all, optimum)}
}

// longest is what a play of a million is to take.
const longest = time.Minute

func durationCells(all []report.Figures) []string {
	f := &all[0]
	verdict := "met"
	if f.Took > longest {
		verdict = fmt.Sprintf("missed: %.0f s > %.0f s", f.Took.Seconds(), longest.Seconds())
	}
	return []string{
		fmt.Sprintf("%.0f s", f.Took.Seconds()), verdict,
		fmt.Sprintf("%.1f GiB", float64(f.Memory)/(1<<30)),
	}
}

func wasted(f *report.Figures) string { return share(f.Wasted) }
func worst(f *report.Figures) string  { return share(f.PeakMinute) }

func optimum(f *report.Figures) string {
	if !f.Reached {
		return "never"
	}
	return fmt.Sprintf("%.2f", f.OfOptimum)
}

// share is a number with as many places as say something.
func share(x float64) string {
	switch {
	case x == 0:
		return "0"
	case x < 2:
		return fmt.Sprintf("%.2f", x)
	case x < 99.95:
		return fmt.Sprintf("%.1f", x)
	}
	n := strconv.Itoa(int(x + 0.5))
	for i := len(n) - 3; i > 0; i -= 3 {
		n = n[:i] + "," + n[i:]
	}
	return n
}

// span is from the least to the most of what several seeds come to.
func span(all []report.Figures, of func(f *report.Figures) string) string {
	texts := make([]string, len(all))
	for i := range all {
		texts[i] = of(&all[i])
	}
	slices.SortFunc(texts, func(a, b string) int {
		return cmp.Compare(numberIn(a), numberIn(b))
	})
	if first, last := texts[0], texts[len(texts)-1]; first != last {
		return first + "-" + last
	}
	return texts[0]
}

// arrival is the time until 99.9 % have arrived.
func arrival(all []report.Figures) string {
	least, most := all[0].To999, all[0].To999
	for i := range all {
		least, most = min(least, all[i].To999), max(most, all[i].To999)
	}
	const h, m = time.Hour, time.Minute
	least, most = least.Round(time.Second), most.Round(time.Second)
	switch {
	case least == 0:
		return "never"
	case least == most && most < 2*h:
		return fmt.Sprintf("%d min %d s", most/m, most%m/time.Second)
	case least == most:
		most = most.Round(m)
		return fmt.Sprintf("%d h %d min", most/h, most%h/m)
	case most < 2*h:
		return fmt.Sprintf("%.0f-%.0f s", least.Seconds(), most.Seconds())
	}
	first, last := fmt.Sprintf("%.1f", least.Hours()), fmt.Sprintf("%.1f", most.Hours())
	if first == last {
		return first + " h"
	}
	return first + "-" + last + " h"
}

// numberIn is the number in a cell; of a span, the most.
func numberIn(cell string) float64 {
	text := strings.ReplaceAll(cell[strings.LastIndexByte(cell, '-')+1:], ",", "")
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		return math.Inf(1) // never
	}
	return x
}
