// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rehome-iot/rehome/examples/fleet/report"
	"github.com/rehome-iot/rehome/examples/fleet/scenario"
)

// What a move without any Stagger is to cost at most: requests in vain a device, and time over the
// optimum.
const (
	mostWasted    = 8
	mostOfOptimum = 1.15
)

const longestWindow = 6 * time.Hour

// drawWindows plays a move with windows of several factors and caps, and draws what each costs.
func (c *command) drawWindows(ctx context.Context, stderr io.Writer) error {
	move, _ := scenario.Named("move")
	var trades []report.Trade
	for factor := 2; factor <= 4; factor++ {
		t := report.Trade{Name: fmt.Sprintf("%d·t", factor)}
		for most := time.Hour; most <= longestWindow; most += time.Hour {
			o := c.Options
			o.Throttled.Factor, o.Throttled.Cap = factor, most
			p := move.Prepare(o)
			p.Name = fmt.Sprintf("%s, %s up to %v", p.Name, t.Name, most)
			done := c.watch(p, stderr)
			_, f, err := p.Run(ctx)
			done()
			if err != nil {
				return err
			}
			t.Points = append(t.Points, report.TradePoint{Cap: most, Figures: f})
		}
		trades = append(trades, t)
	}
	return toFile(c.windows, func(w io.Writer) error {
		return report.TradeSVG(w, c.title(), trades, mostWasted, mostOfOptimum)
	})
}
