// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/hubconn/simdial"
	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// The program starts while nothing answers, is stopped and started again, and loses none of what it
// measured.
func TestTheProgramKeepsWhatItMeasuresWithoutAConnection(t *testing.T) {
	const key = "b3V0Ym94IHRlc3Qga2V5IG9mIDMyIGJ5dGVzIC4uLiE="
	network, err := simnet.Listen(simnet.ListenConfig{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, network.Close()) })
	hub := hubtest.NewHub(network, "contoso.azure-devices.net")
	service := dpstest.New(network, dpstest.Config{})
	service.Link(hub)
	require.NoError(t, service.Enroll(dpstest.IndividualEnrollment{
		RegistrationID: "sensor-042", Attestation: dpstest.Keys(key, ""),
	}))
	dir := t.TempDir()
	authority := filepath.Join(dir, "ca.pem")
	require.NoError(t, os.WriteFile(authority, network.CA().PEM(), 0o600))
	t.Setenv(simdial.Variable, fmt.Sprintf(
		`{"https":%q,"mqtt":%q,"ca":%q}`, network.HTTPSAddr(), network.MQTTAddr(), authority,
	))
	t.Setenv("ID_SCOPE", service.IDScope())
	t.Setenv("REGISTRATION_ID", "sensor-042")
	t.Setenv("DEVICE_KEY", key)
	store := filepath.Join(dir, "store")
	play := func(until func() bool) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- run(ctx, store, 20*time.Millisecond) }()
		for range 6000 {
			if until() {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	}
	network.SetFault(hub.Host(), simnet.Refused)
	begin := time.Now()
	play(func() bool { return time.Since(begin) > 2*time.Second })
	require.Empty(t, hub.Messages())
	network.SetFault(hub.Host(), simnet.None)
	stopped := time.Now()
	var first time.Time
	play(func() bool {
		messages := hub.Messages()
		if len(messages) < 3 {
			return false
		}
		for _, m := range messages {
			at, err := time.Parse(time.RFC3339Nano, m.System["$.ctime"])
			require.NoError(t, err)
			if first.IsZero() || at.Before(first) {
				first = at
			}
			var body struct{ Temperature float64 }
			require.NoError(t, json.Unmarshal(m.Body, &body))
		}
		return true
	})
	assert.True(t, first.Before(stopped), "what the first process measured has arrived")
	err = run(t.Context(), store, 0)
	assert.ErrorContains(t, err, "-every is 0s: use a positive time")
}
