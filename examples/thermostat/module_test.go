// SPDX-License-Identifier: Apache-2.0

package main_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

func TestTheModuleReportsTheProgramsHealthBesideTheDevice(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	require.NoError(t, s.a.Put(hubtest.Device{ID: "board", PrimaryKey: canaryKey}))
	require.NoError(t, s.a.PutModule("board", hubtest.Module{
		ID: "health", PrimaryKey: canaryGroupKey,
	}))
	p := launch(
		t, append(s.keyFlags("board"), "-module", "health"),
		"THERMOSTAT_MODULE_KEY="+canaryGroupKey,
	)
	of := map[string]int{}
	require.Eventually(t, func() bool {
		clear(of)
		for _, m := range s.a.Messages() {
			of[m.ModuleID]++
			var body map[string]float64
			require.NoError(t, json.Unmarshal(m.Body, &body))
			want := map[string]string{"": "temperature", "health": "uptime"}[m.ModuleID]
			require.Contains(t, body, want)
		}
		return of[""] > 1 && of["health"] > 1
	}, patience, 20*time.Millisecond)
	require.True(t, s.a.DeleteModule("board", "health"))
	p.await("the module waits", 0, func(r record) bool {
		return r.Msg == "module waiting" && r.Class == "rejected"
	})
	require.True(t, s.a.Connected("board"))
	p.stop()
}
