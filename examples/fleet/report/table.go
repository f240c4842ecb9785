// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// column is one of the table.
type column struct {
	head string
	cell func(f *Figures) string
}

func number(places int, of func(f *Figures) float64) func(f *Figures) string {
	return func(f *Figures) string { return fmt.Sprintf("%.*f", places, of(f)) }
}

var columns = []column{
	{"scenario", func(f *Figures) string { return f.Name }},
	{"devices", func(f *Figures) string { return fmt.Sprint(f.Devices) }},
	{"seed", func(f *Figures) string { return fmt.Sprint(f.Seed) }},
	{"arrived", number(0, func(f *Figures) float64 { return float64(f.Arrived) })},
	{"99.9 %", func(f *Figures) string {
		if !f.Reached {
			return "never"
		}
		return f.To999.Round(time.Second).String()
	}},
	{"/ optimum", func(f *Figures) string {
		if !f.Reached {
			return "-"
		}
		return fmt.Sprintf("%.3f", f.OfOptimum)
	}},
	{"to DPS", number(2, func(f *Figures) float64 { return f.Registrations })},
	{"wasted", number(2, func(f *Figures) float64 { return f.Wasted })},
	{"p99", number(0, func(f *Figures) float64 { return float64(f.Wasted99) })},
	{"clock", number(2, func(f *Figures) float64 { return f.Clock })},
	{"connects", number(1, func(f *Figures) float64 { return f.Connects })},
	{"worst min", number(2, func(f *Figures) float64 { return f.PeakMinute })},
	{"all min", number(2, func(f *Figures) float64 { return f.AllMinute })},
	{"after 5", number(2, func(f *Figures) float64 { return f.LaterMinute })},
	{"sustained", number(2, func(f *Figures) float64 { return f.Sustained })},
	{"hub peak", number(2, func(f *Figures) float64 { return f.HubPeakSecond })},
	{"in 1 s", number(4, func(f *Figures) float64 { return f.Share })},
	{"early", func(f *Figures) string {
		return fmt.Sprint(f.BeforeRetryAfter + f.SoonAfterFailure)
	}},
}

// Table writes figures, a line each.
func Table(w io.Writer, all []Figures) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(cell func(c *column) string) {
		var b strings.Builder
		for i := range columns {
			b.WriteString(cell(&columns[i]))
			b.WriteByte('\t')
		}
		_, _ = fmt.Fprintln(t, b.String())
	}
	line(func(c *column) string { return c.head })
	for i := range all {
		line(func(c *column) string { return c.cell(&all[i]) })
	}
	return t.Flush()
}
