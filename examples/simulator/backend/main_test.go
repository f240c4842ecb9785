// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTheLastMessageOfEachDeviceIsTold(t *testing.T) {
	var out bytes.Buffer
	b := newBackEnd(slog.New(slog.NewTextHandler(&out, nil)))
	post := func(body string) int {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/telemetry", strings.NewReader(body)))
		return w.Code
	}
	const first = `{"position":1,"kind":"telemetry","deviceId":"a","message":{"body":"20"}}`
	assert.Equal(t, 204, post("["+first+`,
		{"position":2,"kind":"telemetry","deviceId":"b","message":{"body":"5"}},
		{"position":3,"kind":"telemetry","deviceId":"a","message":{"body":"21"}},
		{"position":4,"kind":"gap","missed":7}, {"kind":"telemetry"}]`))
	// the same batch once more, as the simulator sends it when an answer is lost
	assert.Equal(t, 204, post(
		`[{"position":3,"kind":"telemetry","deviceId":"a","message":{"body":"21"}}]`,
	))
	assert.Equal(t, 400, post("{}"))
	assert.Equal(t, 400, post(`["`))

	w := httptest.NewRecorder()
	b.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/devices", nil))
	var last map[string]event
	require.NoError(t, json.Unmarshal(w.Body.Bytes(), &last))
	require.Len(t, last, 2)
	assert.Equal(t, "21", last["a"].Message.Body)
	assert.Equal(t, "5", last["b"].Message.Body)
	assert.Equal(t, 1, strings.Count(out.String(), "body=21"))
	assert.Contains(t, out.String(), "events=7")
}
