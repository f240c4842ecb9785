// SPDX-License-Identifier: Apache-2.0

package report

import (
	"image/color"
	"io"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
)

// Trade is what one choice costs a fleet, by how far it is taken.
type Trade struct {
	Name   string
	Points []TradePoint
}

// TradePoint is what a fleet comes to whose longest window is Cap.
type TradePoint struct {
	Cap time.Duration
	Figures
}

const tradeHeight = 12 * vg.Centimeter

// TradeSVG draws requests in vain and time against the longest window, and the most that either is
// to be.
func TradeSVG(w io.Writer, title string, trades []Trade, mostWasted, mostOfOptimum float64) error {
	wasted := panel(title, "wasted a device", 0)
	times := panel("", "99.9 %, × optimum", 0)
	times.X.Label.Text = "longest window, hours"
	panels := []*plot.Plot{wasted, times}
	for _, p := range panels {
		p.X.Min, p.X.Max = 0, 0
		p.Y.Min = 0
	}
	times.Y.Min = 1
	for i, t := range trades {
		var xys [2]plotter.XYs
		for _, p := range t.Points {
			x := p.Cap.Hours()
			xys[0] = append(xys[0], plotter.XY{X: x, Y: p.Wasted})
			xys[1] = append(xys[1], plotter.XY{X: x, Y: p.OfOptimum})
			for _, p := range panels {
				p.X.Max = max(p.X.Max, x)
			}
		}
		for j, p := range panels {
			line, points, err := plotter.NewLinePoints(xys[j])
			if err != nil {
				return err
			}
			line.Color, line.Width = colours[i%len(colours)], vg.Points(1)
			points.Color, points.Radius = line.Color, vg.Points(1.5)
			p.Add(line, points)
			_, _, _, most := plotter.XYRange(xys[j])
			p.Y.Max = max(p.Y.Max, most)
			if j == 0 {
				p.Legend.Add(t.Name, line)
			}
		}
	}
	for j, most := range []float64{mostWasted, mostOfOptimum} {
		line, err := plotter.NewLine(plotter.XYs{{X: 0, Y: most}, {X: panels[j].X.Max, Y: most}})
		if err != nil {
			return err
		}
		line.Color, line.Dashes = color.Gray{Y: 0x60}, []vg.Length{vg.Points(3), vg.Points(3)}
		panels[j].Add(line)
		if j == 0 {
			panels[j].Legend.Add("the target", line)
		}
	}
	return drawn(w, panels, tradeHeight)
}
