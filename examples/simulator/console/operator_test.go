// SPDX-License-Identifier: Apache-2.0

package console

import (
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func steps(texts ...string) (all []json.RawMessage) {
	for _, text := range texts {
		all = append(all, json.RawMessage(text))
	}
	return all
}

func TestASwitchedOffFaultLeavesTheOthersOn(t *testing.T) {
	w := newWorld(t)
	throttle, busy := `{"dps":{"code":429001}}`, `{"hub":{"host":"hub-a.net","on":"connect"}}`
	require.NoError(t, w.setFault("dps", true, steps(throttle)))
	require.NoError(t, w.setFault("broken", true, steps(busy)))
	require.NoError(t, w.setFault("certificate", true,
		steps(`{"network":{"host":"hub-a.net","certificate":"expired"}}`)))
	require.NoError(t, w.setFault("clock", true, steps(`{"clockOffset":"48h"}`)))
	w.steps = nil

	require.NoError(t, w.setFault("broken", false, nil))
	assert.Equal(t, []string{`{"clear":true}`, throttle}, w.steps)
	w.steps = nil
	require.NoError(t, w.setFault("certificate", false, nil))
	require.NoError(t, w.setFault("clock", false, nil))
	require.NoError(t, w.setFault("clock", false, nil), "it was off already")
	assert.Equal(t, []string{`{"network":{"host":"hub-a.net"}}`, `{"clockOffset":"0s"}`}, w.steps)
	assert.Len(t, w.operator.now().Faults, 1)
}

func TestTwoFaultsOfOneHostsNetworkGoTogether(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.setFault("certificate", true,
		steps(`{"network":{"host":"hub-a.net","certificate":"expired"}}`)))
	require.NoError(t, w.setFault("other", true,
		steps(`{"network":{"host":"hub-b.net","fault":"refused"}}`)))
	w.steps = nil
	require.NoError(t, w.setFault("silence", true,
		steps(`{"network":{"host":"hub-a.net","fault":"blackhole"}}`)))
	require.NoError(t, w.setFault("certificate", false, nil))
	require.NoError(t, w.setFault("silence", false, nil))
	assert.Equal(t, []string{
		`{"network":{"certificate":"expired","fault":"blackhole","host":"hub-a.net"}}`,
		`{"network":{"fault":"blackhole","host":"hub-a.net"}}`,
		`{"network":{"host":"hub-a.net"}}`,
	}, w.steps)
}

func TestAFaultThatIsRefusedIsNotOn(t *testing.T) {
	w := newWorld(t)
	w.refuse = errors.New("cut: is none of the hubs")
	require.Error(t, w.setFault("x", true, steps(`{"cut":"elsewhere"}`)))
	assert.Empty(t, w.operator.now().Faults)
	assert.Contains(t, w.operator.now().Done[0].Error, "none of the hubs")
	w.refuse = nil
	for _, text := range []string{`[]`, `null`, `{`, `1`} {
		assert.Error(t, w.do(steps(text)), text)
	}
	assert.Empty(t, w.steps)
}

func TestWhatWasDoneIsRecordedWithItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		require.NoError(t, w.do(steps(`{"clear":true}`)))
		w.record(true)
		time.Sleep(1234 * time.Millisecond)
		require.NoError(t, w.do(steps(`{"at":"9m","cut":"hub-a.net"}`)))
		time.Sleep(time.Minute)
		w.refuse = errors.New("no")
		require.Error(t, w.do(steps(`{"cut":"hub-b.net"}`)))
		w.refuse = nil
		require.NoError(t, w.do(steps(`{"clear":true}`)))
		w.record(false)
		require.NoError(t, w.do(steps(`{"clear":true}`)))
		assert.JSONEq(t, `{"steps":[{"at":"1.2s","cut":"hub-a.net"},{"at":"1m1.2s","clear":true}]}`,
			string(w.operator.scenario()))
		w.record(true)
		assert.JSONEq(t, `{"steps":[]}`, string(w.operator.scenario()))
	})
}

func TestAScenarioPlaysUntilItIsStopped(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.play(json.RawMessage(`{}`)))
	require.NoError(t, w.play(json.RawMessage(`{}`)), "the second takes the first one's place")
	assert.True(t, w.operator.now().Playing)
	w.stop()
	assert.False(t, w.operator.now().Playing)
	w.tasks.Wait()
}
