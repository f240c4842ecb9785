// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/internal/programtest"
)

func TestTheBeginningOfAScenarioIsDoneOnceUntilItIsRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out programtest.Output
		s := &simulator{network: simnet.ForTest(t), log: newLogger(&out)}
		sc := &scenario{Repeat: simnet.Duration(time.Minute), Steps: []step{
			{Cut: "hub-a.net"},
			{Method: &methodStep{DeviceID: "kitchen", Name: "reboot"}},
			{At: simnet.Duration(10 * time.Second), Cut: "hub-b.net"},
		}}
		done := func() (times [3]int) {
			for i, what := range []string{"cut hub-a.net", "call reboot", "cut hub-b.net"} {
				times[i] = strings.Count(out.String(), what)
			}
			return times
		}
		s.begin(sc)
		assert.Equal(t, [3]int{1, 0, 0}, done(), "a call waits for a device: nobody waits for it")
		ctx, stop := context.WithCancel(t.Context())
		s.play(ctx, sc)
		for _, want := range [][3]int{{1, 1, 0}, {1, 1, 1}, {2, 2, 1}, {2, 2, 2}} {
			time.Sleep(time.Second)
			synctest.Wait()
			assert.Equal(t, want, done())
			time.Sleep(29 * time.Second)
		}
		stop()
		s.tasks.Wait()
	})
}
