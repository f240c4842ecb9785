// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"encoding/base64"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// lookUpRefused expects a failed lookup.
func (w *clientWorld) lookUpRefused() *dps.Error {
	w.Helper()
	assignment, err := w.client.Lookup(w.Context())
	failure := w.failed(assignment, err)
	assert.Equal(w, "lookup", failure.Op)
	return failure
}

func TestLookupFindsTheAssignmentWithoutRegistering(t *testing.T) {
	clientEach(t, dpstest.Config{}, func(w *clientWorld) {
		registered := w.register(dps.Registration{})
		w.dps.ResetLog()
		before := time.Now()
		looked, err := w.client.Lookup(w.Context())
		require.NoError(w, err)
		registered.Date = looked.Date
		assert.Equal(w, registered, looked)
		assert.WithinDuration(w, time.Now(), looked.Date, time.Second)
		assert.Zero(w, time.Since(before))
		require.Equal(w, []dpstest.Op{dpstest.Lookup}, w.requests())
		assert.Equal(w, dpstest.HTTPS, w.dps.Requests()[0].Transport, "MQTT has none")
		synctest.Wait()
		assert.Zero(w, w.network.Cut(dpstest.GlobalEndpoint), "no connection is left")
	})
}

func TestLookupOfAStrangerCallsForRegistering(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		failure := w.lookUpRefused()
		assert.Equal(w, 404, failure.Status)
		assert.Equal(w, retry.Register, failure.Verdict())
	})
	clientBubble(t, dps.HTTPS, dpstest.Config{UnassignedLookup: true}, func(w *clientWorld) {
		failure := w.lookUpRefused()
		assert.Equal(w, "unassigned", failure.State)
		assert.Equal(w, retry.Register, failure.Verdict())
	})
}

func TestLookupRefused(t *testing.T) {
	for _, in := range []struct {
		fault dpstest.Fault
		want  retry.Verdict
		wait  time.Duration
	}{
		{dpstest.Fault{Code: 401000}, retry.Stop, 0},
		{dpstest.Fault{Code: 429001, RetryAfter: "45"}, retry.Wait, 45 * time.Second},
		{dpstest.Fault{Code: 429001}, retry.Wait, 0},
		{dpstest.Fault{Status: 500}, retry.Wait, 0},
		{dpstest.Fault{Cut: true}, retry.Wait, 0},
		{dpstest.Fault{NoAnswer: true}, retry.Wait, 0},
		{dpstest.Fault{CutAfter: 20}, retry.Wait, 0},
		{dpstest.Fault{Status: 200, Body: []byte("<html>")}, retry.Wait, 0},
		{dpstest.Fault{Status: 200, Body: []byte(`{"status":"assigned","deviceId":"d"}`)}, retry.Wait, 0},
		{dpstest.Fault{Status: 200, Body: []byte(`{"status":"assigned","assignedHub":7,"deviceId":"d"}`)}, retry.Wait, 0},
		{dpstest.Fault{Status: 200, Body: []byte(`{"status":"assigning"}`)}, retry.Wait, 0},
		{dpstest.Fault{Status: 200, Body: []byte(`{"status":"disabled"}`)}, retry.Stop, 0},
		{dpstest.Fault{Status: 200, Body: []byte(`{"status":"failed","errorCode":400207}`)}, retry.Stop, 0},
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			w.register(dps.Registration{})
			in.fault.On = dpstest.Lookup
			w.dps.Inject(in.fault)
			failure := w.lookUpRefused()
			assert.Equal(w, in.want, failure.Verdict(), "%v", failure)
			assert.Equal(w, in.wait, retry.After(failure))
			assert.Equal(w, 1, w.dps.Count(dpstest.Lookup), "one attempt")
		})
	}
}

func TestLookupWithAWrongKey(t *testing.T) {
	clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
		w.register(dps.Registration{})
		w.client.Attestation = dps.SymmetricKey{
			ID: clientID, Key: base64.StdEncoding.EncodeToString(make([]byte, 32)),
		}
		failure := w.lookUpRefused()
		assert.Equal(w, 401, failure.Status)
		assert.Equal(w, retry.Stop, failure.Verdict())
		assert.WithinDuration(
			w, time.Now(), failure.Date, time.Second, "a refusal tells the time too",
		)
	})
}

func TestLookupEndsWithItsContext(t *testing.T) {
	errShutdown := errors.New("the program is told to end")
	for stage, prepare := range map[string]func(w *clientWorld){
		"dial":      func(w *clientWorld) { w.network.SetFault(dpstest.GlobalEndpoint, simnet.Blackhole) },
		"handshake": func(w *clientWorld) { w.network.Stall(dpstest.GlobalEndpoint, true) },
		"answer":    func(w *clientWorld) { w.dps.Inject(dpstest.Fault{On: dpstest.Lookup, NoAnswer: true}) },
		"before":    nil,
	} {
		clientBubble(t, dps.HTTPS, dpstest.Config{}, func(w *clientWorld) {
			ctx, cancel := context.WithCancelCause(w.Context())
			defer cancel(nil)
			if prepare == nil {
				cancel(errShutdown)
			} else {
				prepare(w)
				defer time.AfterFunc(time.Second, func() { cancel(errShutdown) }).Stop()
			}
			_, err := w.client.Lookup(ctx)
			require.ErrorIs(w, err, errShutdown, stage)
			if prepare != nil {
				assert.Equal(w, time.Second, w.elapsed(), stage)
			}
			w.network.Stall(dpstest.GlobalEndpoint, false)
		})
	}
}
