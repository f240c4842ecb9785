// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/examples/internal/stage"
	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// inBubble plays in memory and in virtual time what the program plays on sockets and in real time.
func inBubble(t *testing.T, spoil func(*world)) (r *stage.Report, printed string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := simnet.New()
		w, err := newWorld(network, &cache.Memory{})
		require.NoError(t, err)
		spoil(w)
		r, printed = program.Rehearse(t.Context(), w.World, w.steps())
		require.NoError(t, network.Close())
	})
	return r, printed
}

func TestEveryStepGoesAsExpectedInLessThanAMinute(t *testing.T) {
	for range 10 { // the back-off is random
		r, printed := inBubble(t, func(*world) {})
		require.True(t, r.AsExpected(), printed)
		require.Less(t, r.Took, time.Minute)
		require.NotContains(t, printed, "NOT OK")
		require.NotContains(t, printed, onboardingKey)
		require.Contains(t, printed, "All 6 steps went as expected")
		require.Contains(t, printed, "4 registrations, 4 polls, 1 clock check")
		require.Equal(t, 6, strings.Count(printed, " s  ok "))
		require.NoError(t, stage.TooWide(printed))
	}
}

func TestAStepThatGoesOtherwiseIsNotOK(t *testing.T) {
	refuse := func(at *hubtest.Hub, skip int) {
		at.Inject(hubtest.Fault{On: hubtest.Connect, Skip: skip, ReturnCode: 3})
	}
	for name, c := range map[string]struct {
		spoil func(*world)
		step  int // from 1: the first that must fail
		says  string
	}{
		"DPS issues no certificate": {
			spoil: func(w *world) { w.DPS.Issuer().DeletePolicy(policy.ID()) }, step: 1,
			says: "nothing more happened",
		},
		"a second registration": {
			spoil: func(w *world) {
				w.DPS.Inject(dpstest.Fault{On: dpstest.Register, Status: 503})
			},
			step: 1, says: "2 registrations",
		},
		"quarantine is not told apart": {
			spoil: func(w *world) { w.operator.attested = true }, step: 1,
			says: `the device is at "hub-home.azure-devices.net"`,
		},
		"other firmware": {
			spoil: func(w *world) { w.operator.firmware = digest([]byte("1.1")) }, step: 2,
			says: "it stays",
		},
		"the hub issues nothing": {
			spoil: func(w *world) {
				w.home.Inject(hubtest.Fault{On: hubtest.IssueStart, Times: -1, Code: 500001})
			},
			step: 3, says: "500001",
		},
		"the hub does not take what it has issued": {
			// It has seen the move home, and this step's boot.
			spoil: func(w *world) {
				w.home.Inject(hubtest.Fault{On: hubtest.Connect, Skip: 2, Times: 1, ReturnCode: 5})
			},
			step: 3, says: "the connection goes on with the former credential",
		},
		"one attempt more": {
			spoil: func(w *world) { refuse(w.sold, 1) }, step: 6, says: "hubs saw 2 attempts",
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, printed := inBubble(t, c.spoil)
			require.NoError(t, r.FirstOtherwise(c.step, c.says), printed)
			require.Contains(t, printed, "steps went otherwise:")
		})
	}
}
