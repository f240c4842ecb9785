// SPDX-License-Identifier: Apache-2.0

package dps_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/provisioning/dps"
)

func TestAPayloadSaysForHowLongToStagger(t *testing.T) {
	const week = 7 * 24 * time.Hour
	for payload, want := range map[string]time.Duration{
		``:                                      0,
		`null`:                                  0,
		`{}`:                                    0,
		`{"rehome": {}}`:                        0,
		`{"rehome": null}`:                      0,
		`{"rehome": {"staggerSeconds": null}}`:  0,
		`{"rehome": {"staggerSeconds": 0}}`:     0,
		`{"rehome": {"staggerSeconds": 0.5}}`:   500 * time.Millisecond,
		`{"rehome": {"staggerSeconds": 63158}}`: 63158 * time.Second,
		`{"room": 4, "rehome": {"staggerSeconds": 6e1}}`: time.Minute,
		`{"rehome": {"staggerSeconds": 604800}}`:         week,

		// The payload is the program's own, whatever it is.
		`"rehome"`:                             0,
		`[{"rehome": {"staggerSeconds": 60}}]`: 0,
		`{"rehome": {"staggerSeconds": 60}`:    0,
		"\x00\xff":                             0,
		strings.Repeat(`{"rehome":`, 20_000):   0,
	} {
		got, err := dps.Assignment{Payload: json.RawMessage(payload)}.Stagger()
		require.NoError(t, err, payload)
		require.Equal(t, want, got, payload)
	}
	for _, payload := range []string{
		`{"rehome": 60}`,
		`{"rehome": []}`,
		`{"rehome": {"staggerSeconds": -1}}`,
		`{"rehome": {"staggerSeconds": 604801}}`,
		`{"rehome": {"staggerSeconds": 1e300}}`,
		`{"rehome": {"staggerSeconds": 1e999}}`,
		`{"rehome": {"staggerSeconds": "60"}}`,
		`{"rehome": {"staggerSeconds": true}}`,
	} {
		got, err := dps.Assignment{Payload: json.RawMessage(payload)}.Stagger()
		require.ErrorContains(t, err, "staggerSeconds", payload)
		require.ErrorContains(t, err, "604800", "the fix")
		require.Zero(t, got, payload)
	}
}

func TestTheGuidesAnswerOfACustomAllocationIsOneThatCounts(t *testing.T) {
	guide, err := os.ReadFile("../../docs/guide.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(guide), "```json\n")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "```")
	var answer struct {
		IoTHubHostName string
		Payload        json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(block), &answer))
	got, err := dps.Assignment{Hub: answer.IoTHubHostName, Payload: answer.Payload}.Stagger()
	require.NoError(t, err)
	require.Equal(t, 63158*time.Second, got)
}
