// SPDX-License-Identifier: Apache-2.0

package report

import (
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// Curve is what was measured, by the name that a picture has for it.
type Curve struct {
	Name string
	*Measure
}

// The colours of the curves: they can be told apart without seeing red or green, too.
var colours = []color.Color{
	color.RGBA{R: 0x00, G: 0x5a, B: 0x9c, A: 0xff}, color.RGBA{R: 0xd5, G: 0x5e, A: 0xff},
	color.RGBA{G: 0x9e, B: 0x73, A: 0xff}, color.RGBA{R: 0xcc, G: 0x79, B: 0xa7, A: 0xff},
	color.RGBA{R: 0x56, G: 0xb4, B: 0xe9, A: 0xff}, color.RGBA{R: 0x55, G: 0x55, B: 0x55, A: 0xff},
	color.RGBA{R: 0xe6, G: 0x9f, A: 0xff}, color.RGBA{R: 0x5d, G: 0x3a, B: 0x1a, A: 0xff},
	color.RGBA{A: 0xff},
}

const (
	pictureWidth  = 18 * vg.Centimeter
	pictureHeight = 17 * vg.Centimeter
	points        = 360 // of a curve
	leastLoad     = 0.01
)

// SVG draws, over the time since what is measured began, the share of the devices that have
// arrived, and the load of DPS and of the hub in multiples of what they admit. The same
// measurements make the same file.
func SVG(w io.Writer, title string, curves []Curve) error {
	end := 0
	for _, c := range curves {
		end = max(end, len(c.Seconds))
	}
	step := max(1, (end+points-1)/points)
	panels := []*plot.Plot{
		panel(title, "arrived, %", end), panel("", "DPS, × quota", end),
		panel("", "hub, × rate", end),
	}
	panels[0].Y.Min, panels[0].Y.Max = 0, 100
	panels[2].X.Label.Text = "minutes"
	for _, p := range panels[1:] {
		p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
		p.Y.Min, p.Y.Max = leastLoad, 1
	}
	for i, c := range curves {
		colour := colours[i%len(colours)]
		for j, xys := range []plotter.XYs{c.arrivals(step), c.dpsLoad(step), c.hubLoad(step)} {
			line, err := plotter.NewLine(xys)
			if err != nil {
				return err
			}
			line.Color, line.Width = colour, vg.Points(1)
			panels[j].Add(line)
			if j == 0 && len(curves) > 1 {
				panels[0].Legend.Add(c.Name, line)
			}
			if _, _, _, most := plotter.XYRange(xys); j > 0 {
				panels[j].Y.Max = max(panels[j].Y.Max, math.Pow(10, math.Ceil(math.Log10(most))))
			}
		}
	}
	return drawn(w, panels, pictureHeight)
}

// drawn draws panels, one below the other.
func drawn(w io.Writer, panels []*plot.Plot, height vg.Length) error {
	canvas := vgsvg.New(pictureWidth, height)
	dc := draw.New(canvas)
	dc.SetColor(color.White)
	dc.Fill(dc.Rectangle.Path())
	rows := make([][]*plot.Plot, len(panels))
	for i := range panels {
		rows[i] = []*plot.Plot{panels[i]}
	}
	tiles := draw.Tiles{
		Rows: len(rows), Cols: 1, PadY: vg.Points(8), PadTop: vg.Points(4),
		PadBottom: vg.Points(4), PadLeft: vg.Points(4), PadRight: vg.Points(10),
	}
	for i, line := range plot.Align(rows, tiles, dc) {
		panels[i].Draw(line[0])
	}
	_, err := canvas.WriteTo(w)
	return err
}

func panel(title, y string, end int) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.Y.Label.Text = title, y
	for _, f := range []*font.Font{
		&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font,
		&p.X.Tick.Label.Font, &p.Y.Tick.Label.Font, &p.Legend.TextStyle.Font,
	} {
		f.Variant, f.Size = "Sans", vg.Points(9)
	}
	p.X.Min, p.X.Max = 0, float64(end)/60
	// whatever font a viewer has in place of ours, its text does not reach the lines then
	p.Legend.Left, p.Legend.XOffs, p.Legend.Padding = true, 0.62*pictureWidth, vg.Points(2)
	grid := plotter.NewGrid()
	grid.Vertical.Color = color.Gray{Y: 0xe4}
	grid.Horizontal.Color = color.Gray{Y: 0xe4}
	p.Add(grid)
	return p
}

// arrivals is the share of devices that have arrived.
func (m *Measure) arrivals(step int) (xys plotter.XYs) {
	all := float64(max(m.expected, 1))
	for i := 0; i < len(m.Seconds); i += step {
		xys = append(xys, plotter.XY{
			X: float64(i) / 60, Y: 100 * float64(m.Seconds[i].Arrived) / all,
		})
	}
	return append(xys, plotter.XY{
		X: float64(len(m.Seconds)) / 60, Y: 100 * float64(m.arrived) / all,
	})
}

// dpsLoad is the load of DPS in the worst minute that ends within each step.
func (m *Measure) dpsLoad(step int) plotter.XYs {
	return m.load(step, 60, m.DPSPerMinute, func(s *Second) int32 { return s.Registrations })
}

// hubLoad is the load of the hub in the worst ten seconds that end within each step.
func (m *Measure) hubLoad(step int) plotter.XYs {
	return m.load(step, 10, 10*m.HubPerSecond, func(s *Second) int32 { return s.Connects })
}

func (m *Measure) load(
	step, span int, quota float64, what func(*Second) int32,
) (xys plotter.XYs) {
	sum, most := 0, 0
	for i := range m.Seconds {
		sum += int(what(&m.Seconds[i]))
		if i >= span {
			sum -= int(what(&m.Seconds[i-span]))
		}
		if most = max(most, sum); i%step == step-1 || i == len(m.Seconds)-1 {
			y := leastLoad // what is less does not show on this scale
			if quota > 0 {
				y = max(y, float64(most)/quota)
			}
			xys = append(xys, plotter.XY{X: float64(i) / 60, Y: y})
			most = 0
		}
	}
	return xys
}
