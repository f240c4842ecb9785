// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
	"github.com/rehome-iot/rehome/retry"
)

// clientOverMQTT runs a test in a bubble for MQTT and MQTT over WebSocket.
func clientOverMQTT(t *testing.T, config dpstest.Config, test func(w *clientWorld)) {
	t.Helper()
	for _, transport := range []dps.Transport{dps.MQTT, dps.MQTTWebSocket} {
		t.Run(transport.String(), func(t *testing.T) { clientBubble(t, transport, config, test) })
	}
}

func TestMQTTConnackRefusals(t *testing.T) {
	for code, want := range map[byte]retry.Verdict{
		1: retry.Stop, 2: retry.Stop, 3: retry.Wait, 4: retry.Stop, 5: retry.Stop, 0x87: retry.Wait,
	} {
		clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
			w.dps.Inject(dpstest.Fault{On: dpstest.Connect, ReturnCode: code})
			failure := w.refused(dps.Registration{OperationID: "5.a.b"})
			assert.Equal(w, "connect", failure.Op)
			assert.Equal(w, code, failure.ReturnCode)
			assert.Equal(w, want, failure.Verdict())
			assert.Zero(w, failure.Status)
			assert.Equal(w, "5.a.b", failure.OperationID, "what was to be resumed still is")
			assert.Empty(w, w.requests())
		})
	}
}

func TestMQTTConnackThatDoesNotCome(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, NoAnswer: true})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 75*time.Second, w.elapsed())
		assert.Equal(w, retry.Wait, failure.Verdict())
	})
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, Delay: 60 * time.Second})
		w.register(dps.Registration{})
		assert.Equal(w, 66*time.Second, w.elapsed(), "a slow CONNACK is waited for")
	})
}

func TestMQTTSubscriptionRefused(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{SubackFailure: true})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "connect", failure.Op)
		assert.ErrorContains(w, failure, "0x80")
		assert.Equal(w, retry.Wait, failure.Verdict())
		assert.Empty(w, w.requests())
	})
}

func TestMQTTUpgradeRefused(t *testing.T) {
	for _, in := range []struct {
		fault  dpstest.Fault
		status int
		want   retry.Verdict
		wait   time.Duration
	}{
		{dpstest.Fault{Status: 429, RetryAfter: "20"}, 429, retry.Wait, 20 * time.Second},
		{dpstest.Fault{Status: 503, RetryAfter: "7"}, 503, retry.Wait, 7 * time.Second},
		{dpstest.Fault{Status: 503, Body: []byte("<html>")}, 503, retry.Wait, 0},
		{dpstest.Fault{Status: 403, Body: []byte("<html>blocked</html>")}, 403, retry.Wait, 0},
		{dpstest.Fault{Status: 404, Body: []byte{}}, 404, retry.Wait, 0},
		{dpstest.Fault{Code: 401002, Status: 401}, 401, retry.Stop, 0},
	} {
		clientBubble(t, dps.MQTTWebSocket, dpstest.Config{}, func(w *clientWorld) {
			in.fault.On = dpstest.Connect
			w.dps.Inject(in.fault)
			failure := w.refused(dps.Registration{})
			assert.Equal(w, in.status, failure.Status)
			assert.Equal(w, in.want, failure.Verdict(), "%v", failure)
			assert.Equal(w, in.wait, retry.After(failure))
			assert.WithinDuration(w, time.Now(), failure.Date, time.Second)
		})
	}
}

func TestMQTTStaleAndRepeatedAnswersAreIgnored(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Stale: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Twice: true})
		w.dps.Inject(dpstest.Fault{On: dpstest.Poll, Stale: true, RetryAfterFirst: true})
		assert.Equal(w, clientHub, w.register(dps.Registration{}).Hub)
		assert.Equal(w, 6*time.Second, w.elapsed())
	})
}

func TestMQTTRetryAfterMayComeFirst(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{RetryAfter: 11 * time.Second}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{Times: 2, RetryAfterFirst: true})
		w.register(dps.Registration{})
		assert.Equal(w, 22*time.Second, w.elapsed())
	})
}

func TestMQTTConnectionLostBetweenPollsIsToldAtOnce(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{RetryAfter: time.Hour}, func(w *clientWorld) {
		defer time.AfterFunc(10*time.Second, func() {
			w.network.Cut(dpstest.GlobalEndpoint)
		}).Stop()
		failure := w.refused(dps.Registration{})
		assert.Equal(w, 10*time.Second, w.elapsed())
		assert.Equal(w, retry.Wait, failure.Verdict())
		require.NotEmpty(w, failure.OperationID)

		time.Sleep(2 * time.Hour)
		assert.Equal(
			w, clientHub, w.register(dps.Registration{OperationID: failure.OperationID}).Hub,
			"an operation outlives its connection",
		)
		assert.Equal(w, 1, w.dps.Count(dpstest.Register))
	})
}

func TestMQTTStalledPeerIsGivenUp(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{RetryAfter: time.Hour}, func(w *clientWorld) {
		defer time.AfterFunc(10*time.Second, func() {
			w.network.Stall(dpstest.GlobalEndpoint, true)
		}).Stop()
		failure := w.refused(dps.Registration{})
		assert.Less(w, w.elapsed(), 3*time.Minute, "the keep-alive notices")
		assert.Equal(w, retry.Wait, failure.Verdict())
		w.network.Stall(dpstest.GlobalEndpoint, false)
	})
}

func TestMQTTWrongKeyIsRefusedAtTheRegisterRequest(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.client.Attestation = dps.SymmetricKey{ID: clientID, Key: clientCanary}
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "register", failure.Op)
		assert.Equal(w, 401, failure.Status)
		assert.Equal(w, 401000, failure.Code)
		assert.NotEmpty(w, failure.TrackingID)
		assert.Equal(w, retry.Stop, failure.Verdict())
	})
}

func TestMQTTEndsWhileAnAnswerIsOnItsWay(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Register, Delay: 20 * time.Second})
		errShutdown := errors.New("the program is told to end")
		ctx, cancel := context.WithTimeoutCause(w.Context(), 10*time.Second, errShutdown)
		defer cancel()
		_, err := w.client.Register(ctx, dps.Registration{})
		require.ErrorIs(w, err, errShutdown)
		assert.Equal(w, 10*time.Second, w.elapsed())
	})
}

func TestMQTTReconnectsBeforeItsTokenEnds(t *testing.T) {
	clientOverMQTT(t, dpstest.Config{RetryAfter: 58 * time.Minute}, func(w *clientWorld) {
		w.register(dps.Registration{})
		assert.Equal(w, 3, w.dps.Count(dpstest.Connect), "a token cannot be renewed in place")
		assert.Equal(w, 1, w.dps.Count(dpstest.Register))
	})
	clientOverMQTT(t, dpstest.Config{RetryAfter: 58 * time.Minute}, func(w *clientWorld) {
		w.dps.Inject(dpstest.Fault{On: dpstest.Connect, Skip: 1, ReturnCode: 3})
		failure := w.refused(dps.Registration{})
		assert.Equal(w, "connect", failure.Op)
		assert.Equal(w, retry.Wait, failure.Verdict())
		assert.NotEmpty(w, failure.OperationID)
	})
}
