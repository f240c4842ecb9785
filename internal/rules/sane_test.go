// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestAWaitIsSaneWithinWhatIsGranted(t *testing.T) {
	full, zero := fullWaits(), Waits{}
	require.True(t, full.Sane())
	require.True(t, zero.Sane())
	const most = 9 * 24 * time.Hour
	for name, spoil := range map[string]func(w *Waits){
		"too many hubs": func(w *Waits) { w.Hubs = append(w.Hubs, w.Hubs[:2]...) },
		"one hub twice": func(w *Waits) { w.Hubs = append(w.Hubs, w.Hubs[1]) },
		"a hub in capitals": func(w *Waits) {
			w.Hubs = append(w.Hubs, HubWait{Hub: "A", DeviceID: w.Hubs[0].DeviceID})
		},
		"gap that overflows": func(w *Waits) { w.Hubs[0].Gap = 1<<20 + 1 },
		"failures too many":  func(w *Waits) { w.Hubs[0].Failures = 1<<20 + 1 },
		"missing too many":   func(w *Waits) { w.Hubs[0].Missing = 1<<20 + 1 },
		"refusals too many":  func(w *Waits) { w.Refusals = 1<<20 + 1 },
		"asked too often":    func(w *Waits) { w.Outage.Asked = 1<<20 + 1 },
		"dps failures many":  func(w *Waits) { w.DPS.Failures = 1<<20 + 1 },
		"tries too many":     func(w *Waits) { w.DPS.ClockTries = 1<<20 + 1 },
		"gone for ever":      func(w *Waits) { w.Hubs[0].Gone = 1 << 62 },
		"silent for ever":    func(w *Waits) { w.Outage.Silent = 1 << 62 },
		"dps refused":        func(w *Waits) { w.DPS.Refused = most + 1 },
		"dps throttled":      func(w *Waits) { w.DPS.Throttled = -1 },
		"no name":            func(w *Waits) { w.Hubs[1].Hub = "" },
		"asked":              func(w *Waits) { w.Hubs[0].Asked = most + 1 },
		"asked before":       func(w *Waits) { w.Hubs[0].Asked = -1 },
		"in":                 func(w *Waits) { w.Hubs[1].In = most + 1 },
		"gap in":             func(w *Waits) { w.Hubs[0].GapIn = most + 1 },
		"gone":               func(w *Waits) { w.Hubs[0].Gone = -1 },
		"failures":           func(w *Waits) { w.Hubs[0].Failures = -1 },
		"missing":            func(w *Waits) { w.Hubs[0].Missing = -1 },
		"gap":                func(w *Waits) { w.Hubs[0].Gap = -1 },
		"quick":              func(w *Waits) { w.Hubs[0].Quick = -1 },
		"many quick":         func(w *Waits) { w.Hubs[0].Quick = 4 },
		"dps in":             func(w *Waits) { w.DPS.In = most + 1 },
		"dps asked":          func(w *Waits) { w.DPS.Asked = -1 },
		"dps manual":         func(w *Waits) { w.DPS.ManualAsked = most + 1 },
		"dps failures":       func(w *Waits) { w.DPS.Failures = -1 },
		"dps reason":         func(w *Waits) { w.DPS.Reason = reasons },
		"dps request":        func(w *Waits) { w.DPS.Request = StatusLookup + 1 },
		"dps clock":          func(w *Waits) { w.DPS.Clock = ClockForExpiry + 1 },
		"dps clock tries":    func(w *Waits) { w.DPS.ClockTries = -1 },
		"renewal gap":        func(w *Waits) { w.Renewal.Gap = most + 1 },
		"renewal hub":        func(w *Waits) { w.Renewal.HubIn = -1 },
		"renewal asked":      func(w *Waits) { w.Renewal.HubAsked = most + 1 },
		"renewal dps":        func(w *Waits) { w.Renewal.DPSIn = most + 1 },
		"renewals failed":    func(w *Waits) { w.Renewal.HubFailures = -1 },
		"renewals by dps":    func(w *Waits) { w.Renewal.DPSFailures = 1<<20 + 1 },
		"outage":             func(w *Waits) { w.Outage.Silent = -1 },
		"outage in":          func(w *Waits) { w.Outage.In = most + 1 },
		"outage questions":   func(w *Waits) { w.Outage.Asked = -1 },
		"refusals":           func(w *Waits) { w.Refusals = -1 },
	} {
		w := fullWaits()
		spoil(&w)
		require.False(t, w.Sane(), name)
	}
	w := fullWaits()
	w.Hubs = append(w.Hubs, HubWait{Hub: "a", DeviceID: "another"})
	w.Hubs[0].Asked, w.Hubs[0].Quick, w.DPS.Reason = most, 3, reasons-1
	require.True(t, w.Sane())
	w.Hubs[0].Asked, w.Hubs[0].Failures, w.Hubs[0].Missing, w.Hubs[0].Gap = 0, 0, 0, 0
	w.Hubs[0].Gone, w.Hubs[0].Quick, w.DPS.Failures, w.Outage.Silent = 0, 0, 0, 0
	w.DPS.ClockTries = 0
	w.Outage.Asked, w.Refusals, w.DPS.Reason, w.DPS.Clock = 0, 0, ReasonManual, ClockForExpiry
	require.True(t, w.Sane())
}
