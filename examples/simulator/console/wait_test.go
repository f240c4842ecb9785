// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestWaitsHaveTheReasonThatTheServicesKnow(t *testing.T) {
	const hubA = "hub-a.net"
	dps := func(at int64, outcome, answer, after string) event {
		return event{
			At: at, Until: at, Kind: kindDPS, To: "dps", Outcome: outcome, Answer: answer,
			RetryAfter: after,
		}
	}
	connect := func(at int64, outcome, answer string) event {
		return event{
			At: at, Until: at, Kind: kindConnect, To: hubA, Outcome: outcome, Answer: answer,
		}
	}
	other := func(at int64, kind string) event {
		return event{At: at, Until: at, Kind: kind, To: hubA, Outcome: ok}
	}
	for name, c := range map[string]struct {
		events []event
		last   string // the wait before the last event
	}{
		"asked for":         {[]event{dps(0, ok, "202", "3"), dps(3000, ok, "200", "")}, "3000 DPS asked for it: Retry-After 3"},
		"moved between":     {[]event{dps(0, ok, "202", "3"), other(250, kindMoved), dps(3000, ok, "200", "")}, "3000 DPS asked for it: Retry-After 3"},
		"throttled":         {[]event{dps(0, refused, "429001", "20"), dps(21000, ok, "202", "3")}, "21000 DPS throttles: Retry-After 20"},
		"DPS fails":         {[]event{dps(0, refused, "500", ""), dps(6000, ok, "202", "3")}, "6000 back-off after 500"},
		"hub refuses":       {[]event{connect(0, refused, "CONNACK 3"), connect(7000, ok, "CONNACK 0")}, "7000 back-off after CONNACK 3"},
		"refused, moved":    {[]event{connect(0, refused, "CONNACK 5"), other(3000, kindMoved), connect(7000, ok, "CONNACK 0")}, "7000 back-off after CONNACK 5"},
		"no answer":         {[]event{connect(0, silent, ""), connect(40000, ok, "CONNACK 0")}, "40000 time-out and back-off: no answer from hub-a"},
		"lost":              {[]event{connect(0, ok, "CONNACK 0"), other(9000, kindLost), connect(15000, ok, "CONNACK 0")}, "6000 back-off: the connection ended"},
		"at once":           {[]event{dps(0, ok, "200", ""), connect(20, ok, "CONNACK 0")}, "0 "},
		"connected":         {[]event{connect(0, ok, "CONNACK 0"), other(60000, kindTelemetry)}, "0 "},
		"asks, connected":   {[]event{connect(0, ok, "CONNACK 0"), dps(60000, ok, "202", "3")}, "0 "},
		"polls, connected":  {[]event{connect(0, ok, "CONNACK 0"), dps(9000, ok, "202", "3"), other(9500, kindTelemetry), dps(12000, ok, "200", "")}, "3000 DPS asked for it: Retry-After 3"},
		"sends while asked": {[]event{connect(0, ok, "CONNACK 0"), dps(9000, ok, "202", "3"), other(11000, kindTelemetry)}, "0 "},
		"alone":             {[]event{connect(5000, ok, "CONNACK 0")}, "0 "},
	} {
		explain(c.events)
		last := c.events[len(c.events)-1]
		assert.Equal(t, c.last, fmt.Sprint(last.Wait, " ", last.Why), name)
	}
}
