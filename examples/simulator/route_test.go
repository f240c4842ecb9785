// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

func TestTelemetryOfADeviceReachesTheBackEndOfTheFlag(t *testing.T) {
	t.Parallel()
	arrived := make(chan event, 10)
	backEnd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var batch []event
		if json.NewDecoder(r.Body).Decode(&batch) != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		for _, e := range batch {
			arrived <- e
		}
	}))
	defer backEnd.Close()
	p := start(
		t, "-config", write(t, "simulator.json", feedConfig), "-webhook", backEnd.URL+"/telemetry",
	)
	defer p.stop(t)
	c := p.connect(t, p.register(t, "kitchen"), "kitchen")
	require.NoError(t, c.Send(t.Context(), hubconn.Message{
		Body: []byte("21.5"), Properties: map[string]string{"unit": "C"},
	}))
	select {
	case e := <-arrived:
		assert.Equal(t, "telemetry", e.Kind)
		assert.Equal(t, hubA, e.Hub)
		assert.Equal(t, "kitchen", e.DeviceID)
		assert.Equal(t, "21.5", e.Message.Body)
		assert.Equal(t, map[string]string{"unit": "C"}, e.Message.Properties)
	case <-time.After(limit):
		t.Fatal("nothing has arrived")
	}
}
