// SPDX-License-Identifier: Apache-2.0

package reliability_test

import (
	"flag"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/rehome-iot/rehome/retry"
)

// pagePath is the page that has the tables.
const pagePath = "../../docs/reliability.md"

// someAlone says that the command line asks for some rows and no table.
func someAlone() bool { return strings.Contains(flag.Lookup("test.run").Value.String(), "/") }

// table is a group's part of the page.
func (g group) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### %s\n\n```text\n", g.title)
	row := append([]string{""}, faultNames[refused:]...)
	tableRow(&b, widths, row...)
	for _, o := range g.operations {
		row := []string{o.name}
		for f := refused; f < faultEnd; f++ {
			row = append(row, o.text(f))
		}
		tableRow(&b, widths, row...)
	}
	b.WriteString("```\n\n```text\n")
	tableRow(&b, summaryWidths, "", "promised", "longest", "again", "ctx", "a Device is back")
	for _, o := range g.operations {
		tableRow(&b, summaryWidths, o.summary()...)
	}
	b.WriteString("```\n\n")
	return b.String()
}

// widths are those of the columns.
var (
	widths        = []int{12, 9, 9, 9, 9, 9, 9, 9, 9}
	summaryWidths = []int{12, 11, 11, 11, 11, 30}
)

func tableRow(b *strings.Builder, widths []int, row ...string) {
	text := ""
	for i, cell := range row {
		text += cell + strings.Repeat(" ", max(1, widths[i]-utf8.RuneCountInString(cell)))
	}
	b.WriteString(strings.TrimRight(text, " ") + "\n")
}

// text is what an operation made of a fault: its class by a letter, and the time.
func (o *operation) text(f fault) string {
	c := o.cells[f]
	switch {
	case c == nil:
		return "–"
	case c.quiet():
		return "ok"
	case c.err == nil:
		return "ok " + o.time(c.took)
	}
	letter := map[retry.Class]string{
		retry.Unreachable: "u", retry.Server: "s", retry.Untrusted: "x",
	}[classOf(c.err)]
	if letter == "" {
		letter = classOf(c.err).String()
	}
	return letter + " " + o.time(c.took)
}

func (o *operation) time(d time.Duration) string {
	if d > time.Second && d <= o.rough {
		return "≤" + seconds(o.rough)
	}
	return seconds(d)
}

func seconds(d time.Duration) string {
	return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
}

// summary is an operation's row of the second table.
func (o *operation) summary() []string {
	met, again, tested, inTime, back := 0, 0, 0, 0, 0
	longest, patient := time.Duration(0), false
	for f, c := range o.cells {
		if c == nil {
			continue
		}
		met++
		for of, ok := range map[*int]bool{
			&again: c.again, &tested: c.tested, &inTime: c.tested && c.inTime, &back: c.back,
		} {
			if ok {
				*of++
			}
		}
		switch {
		case c.quiet():
		case fault(f) == trickle && o.slowly > 0:
			patient = true
		default:
			longest = max(longest, c.took)
		}
	}
	of := func(n, all int) string { return fmt.Sprintf("%d of %d", n, all) }
	promised := seconds(o.bound)
	if patient {
		promised += " *"
	}
	return []string{
		o.name, promised, o.time(longest), of(again, met), of(inTime, tested),
		of(back, met) + ", within " + minutes(o.back()),
	}
}

// minutes rounds up.
func minutes(d time.Duration) string {
	return fmt.Sprintf("%d min", int((d+time.Minute-1)/time.Minute))
}
