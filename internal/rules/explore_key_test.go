// SPDX-License-Identifier: Apache-2.0

//go:build !race

package rules

import (
	"encoding/binary"
	"fmt"
	"reflect"
	"time"

	"github.com/rehome-iot/rehome/retry"
)

// epoch is the present in every situation that is explored: all times are distances from it, so
// that two situations with the same future are the same whenever they come about.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// normalForm brings a State into the form by which states with the same future are merged. It
// learns the fields of State by reflection, and panics on one that it does not know how to treat.
type normalForm struct {
	grid time.Duration
	work State

	times  []timeField
	counts []countField
	values []reflect.Value // booleans and enumerations, kept as they are
	names  []*string
	keep   []*any
}

// timeField is a time. One that looks ahead is past or so far away; of one that looks back, the age
// is kept up to a limit beyond which it makes no difference.
type timeField struct {
	at    *time.Time
	limit time.Duration // zero: looks ahead

	optional bool // that there is one makes a difference even when it is past
}

// countField is a number that makes no difference above a limit.
type countField struct {
	n    *int
	most int
}

// lookAhead are the deadlines: a past one is as good as none.
var lookAhead = map[string]bool{
	"Hub.At": true, "Hubs.NotBefore": true, "Hubs.At": true, "Hubs.GapAt": true,
	"DPS.At": true, "DPS.BehindHub": true, "Outage.AskAt": true,
	"DPS.RefusedUntil": true,
	"DPS.NotBefore":    true, "DPS.ManualNotBefore": true,
	"Renewal.At": true, "Renewal.GapUntil": true, "Renewal.HubAt": true, "Renewal.DPSAt": true,
	"Renewal.HubNotBefore": true, "Renewal.AwayUntil": true, "Renewal.HubHeldUntil": true,
	"Renewal.Certificate.RenewAt": true, "Renewal.Certificate.RegisterAt": true,
	"Renewal.Certificate.Expires": true,
}

// lookBack are the beginnings, and how old one may be before its age does not matter any more.
var lookBack = map[string]time.Duration{
	"Outage.Since": ThrottledOutage, "Hubs.MissingSince": NameGoneTime,
	"DPS.ThrottledSince": ThrottledCap / 2, "Clock.ToldAt": ClockValid,
	"Clock.SilentSince": DPSCap + DPSFloor,
}

// counters are the numbers that grow, and from where on the decision does not tell them apart.
var counters = map[string]int{
	"Hubs.Failures": saturation(Defaults().Hub), "DPS.Failures": saturation(Defaults().DPS),
	"Hubs.Missing": NameGoneTries, "Hubs.Gap": len(RejectionGaps) - 1, "Hubs.Quick": LagRetries,
	"Outage.Asked": outageSaturation(), "Refusals": len(RefusalGaps), "Clock.Tries": MaxClockTries,
	"Renewal.HubFailures": renewalSaturation, "Renewal.DPSFailures": renewalSaturation,
}

// renewalSaturation is the number of failed renewals from which on the delay does not grow.
const renewalSaturation = 4

// saturation is the number of failures from which on the window does not grow.
func saturation(p retry.Policy) int {
	n := 1
	for p.Delay(n, 0, 1) < p.Delay(n+1, 0, 1) {
		n++
	}
	return n
}

// outageSaturation is the number of questions from which on any draw reaches the cap.
func outageSaturation() int {
	n := 0
	for d := OutageMin; d < OutageCap; d *= 2 {
		n++
	}
	return n
}

// newNormalForm makes the form for a grid. The age of an outage matters where a hub throttles, and
// nowhere else: ages says whether to keep it.
func newNormalForm(grid time.Duration, ages bool) *normalForm {
	f := &normalForm{grid: grid}
	f.learn(reflect.ValueOf(&f.work).Elem(), "", ages)
	return f
}

func (f *normalForm) learn(v reflect.Value, path string, ages bool) {
	switch p := addressOf(v).(type) {
	case *time.Time:
		limit, back := lookBack[path]
		if !back && !lookAhead[path] {
			panic("does " + path + " look ahead or back?")
		}
		if path == "Outage.Since" && !ages {
			limit = 1 // ns: that it has begun is all that matters
		}
		optional := path == "Outage.AskAt" || path == "DPS.BehindHub" ||
			path == "Renewal.HubHeldUntil"
		f.times = append(f.times, timeField{p, limit, optional})
		return
	case *Settings:
		return // the same in all situations of an exploration
	case *int:
		most, ok := counters[path]
		if !ok {
			panic("where does " + path + " stop to matter?")
		}
		f.counts = append(f.counts, countField{p, most})
		return
	case *string:
		f.names = append(f.names, p)
		return
	case *any:
		f.keep = append(f.keep, p)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if path != "" {
				name = path + "." + name
			}
			f.learn(v.Field(i), name, ages)
		}
	case reflect.Array:
		for i := range v.Len() {
			f.learn(v.Index(i), path, ages)
		}
	case reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint8:
		f.values = append(f.values, v)
	default:
		panic("what is " + path + "?")
	}
}

// addressOf is a pointer to an exported field; of another, only the value can be read.
func addressOf(v reflect.Value) any {
	if v.CanInterface() {
		return v.Addr().Interface()
	}
	return nil
}

// normalize makes now the epoch. Deadlines are rounded up to the grid: the device whose situation
// this is has drawn, or was asked for, a little more.
func (f *normalForm) normalize(s *State, now time.Time) {
	f.work = *s
	for i := range f.work.Hubs { // in order of their names: their order means nothing
		for j := i; j > 0 && f.work.Hubs[j].Hub > f.work.Hubs[j-1].Hub; j-- {
			f.work.Hubs[j], f.work.Hubs[j-1] = f.work.Hubs[j-1], f.work.Hubs[j]
		}
	}
	for _, t := range f.times {
		if t.at.IsZero() {
			continue
		}
		if t.limit > 0 {
			age := now.Sub(*t.at).Truncate(f.grid)
			*t.at = epoch.Add(-min(max(age, 0), t.limit))
			continue
		}
		switch left := t.at.Sub(now); {
		case left > 0:
			*t.at = epoch.Add(roundUp(left, f.grid))
		case t.optional:
			*t.at = epoch
		default:
			*t.at = time.Time{}
		}
	}
	for _, c := range f.counts {
		*c.n = min(*c.n, c.most)
	}
	*s = f.work
}

func roundUp(d, grid time.Duration) time.Duration { return (d + grid - 1) / grid * grid }

// appendKey is the state that was normalized last, in few bytes.
func (f *normalForm) appendKey(b []byte) []byte {
	for _, t := range f.times {
		d := int64(-1) << 40
		if !t.at.IsZero() {
			d = int64(t.at.Sub(epoch) / time.Second)
		}
		b = binary.AppendVarint(b, d)
	}
	for _, c := range f.counts {
		b = append(b, byte(*c.n))
	}
	for _, v := range f.values {
		switch v.Kind() {
		case reflect.Bool:
			b = append(b, 0)
			if v.Bool() {
				b[len(b)-1] = 1
			}
		case reflect.Uint8:
			b = append(b, byte(v.Uint()))
		default:
			b = binary.AppendVarint(b, v.Int())
		}
	}
	for _, name := range f.names {
		b = append(b, nameNumber(*name))
	}
	for _, k := range f.keep {
		if *k != nil {
			panic("an explored assignment has no record")
		}
	}
	return b
}

func nameNumber(name string) byte {
	for i, known := range [...]string{"", hubName(1), hubName(2), exploredID, exploredOperation} {
		if name == known {
			return byte(i)
		}
	}
	panic(fmt.Sprintf("name %q", name))
}
