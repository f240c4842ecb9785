// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
)

// Whatever is in the file is read without a panic, or refused; and what is read and written again
// is read as the same.
func FuzzRecord(f *testing.F) {
	for _, m := range []hubconn.Message{
		{}, {Body: []byte("body")},
		{MessageID: "id", CorrelationID: "c", ContentType: "t", ContentEncoding: "e",
			Component: "x", Output: "o", CreationTime: time.UnixMilli(1),
			Properties: map[string]string{"a": "b", "": ""}},
		{CreationTime: time.UnixMilli(-5)}, {CreationTime: time.UnixMilli(0)},
	} {
		f.Add(encode(&m, time.UnixMilli(1767225600000))[recordHeader:])
	}
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	key := keyOf(1, telemetry, 7)
	f.Fuzz(func(t *testing.T, content []byte) {
		record := append([]byte{recordVersion, 0, 0, 0, 0}, content...)
		if _, _, err := decode(key, record); err == nil {
			return // by a chance of one in 2^32
		}
		sign(key, record)
		m, kept, err := decode(key, record)
		if err != nil {
			assert.Equal(t, errRecord, err)
			return
		}
		again := encode(&m, kept)
		sign(key, again)
		same, at, err := decode(key, again)
		require.NoError(t, err)
		assert.Equal(t, m, same)
		assert.Equal(t, kept, at)
		record[len(record)-1] ^= 1
		_, _, err = decode(key, record)
		assert.Error(t, err)
		_, _, err = decode(keyOf(1, telemetry, 8), again)
		assert.Error(t, err, "a record under another key")
	})
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	m := hubconn.Message{
		Body: []byte{0, 1, 255}, MessageID: "id", CorrelationID: "c/1", ContentType: "text/plain",
		ContentEncoding: "utf-8", Component: "room", Output: "out",
		CreationTime: time.Date(2026, 3, 1, 12, 0, 0, 5e6, time.UTC),
		Properties:   map[string]string{"a": "1", "b": ""},
	}
	kept := time.UnixMilli(1767225600123)
	record, key := encode(&m, kept), keyOf(3, alarms, 1<<40)
	sign(key, record)
	got, at, err := decode(key, record)
	require.NoError(t, err)
	assert.Equal(t, m, got)
	assert.Equal(t, kept, at)
	device, lane, sequence, ok := laneOf(key)
	assert.True(t, ok)
	assert.EqualValues(t, 3, device)
	assert.Equal(t, alarms, lane)
	assert.EqualValues(t, 1<<40, sequence)
	assert.Less(t, len(key)+len(record)-len(m.Body), 100)
}
