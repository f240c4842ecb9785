// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/examples/gateway/intake"
	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/hubconn/outbox"
)

// A replica hands over what was a full outbox, with IDs that it did not have there: it has room in
// one of the same size all the same.
func TestWhatIsHandedOverTogetherHasRoomInParts(t *testing.T) {
	file, err := outbox.Open(filepath.Join(t.TempDir(), "outbox.db"), outbox.Options{
		Interval: 1, MaxBytes: leastKept, MaxAlarmBytes: leastKept,
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, file.Close()) })
	g := &gateway{
		o: &options{keepBytes: leastKept}, file: file, boxes: map[string]*outbox.Outbox{},
	}
	var messages []hubconn.Message
	for range 66 {
		messages = append(messages, hubconn.Message{
			Body: []byte(strings.Repeat("x", 5000)), MessageID: longestID,
		})
	}
	messages = append(messages, hubconn.Message{
		Body: make([]byte, hubconn.MaxMessageSize-64), MessageID: longestID,
	})
	require.NoError(t, g.keepHere(t.Context(), "sensor-1", intake.Telemetry, messages))
	box, err := g.box("sensor-1")
	require.NoError(t, err)
	assert.EqualValues(t, len(messages), box.Stats().Accepted)
}
