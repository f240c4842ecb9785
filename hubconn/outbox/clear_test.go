// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWhatIsClearedIsNotDelivered(t *testing.T) {
	path := tempFile(t)
	f := open(t, path, quickly)
	box := boxOf(t, f)
	other, err := f.Outbox("another")
	require.NoError(t, err)
	require.NoError(t, box.Clear(t.Context()), "nothing is kept yet")
	send(t, box, 0, 1, 2, 3)
	require.NoError(t, box.SendAlarm(t.Context(), numbered(4)))
	send(t, other, 5)

	// One is acknowledged, one in flight, and some are read.
	d := &delivery{box: box}
	m, ok, err := d.take(telemetry)
	require.NoError(t, err)
	require.True(t, ok)
	box.acknowledge(m.lane, m.sequence, m.size)
	m, ok, err = d.take(telemetry)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, box.Clear(t.Context()))
	for l := range lane(lanes) {
		_, ok, err := d.take(l)
		require.NoError(t, err)
		assert.False(t, ok)
	}
	box.acknowledge(m.lane, m.sequence, m.size)
	s := box.Stats()
	assert.Zero(t, s.Kept)
	assert.Zero(t, s.KeptAlarms)
	assert.Zero(t, s.KeptBytes)
	assert.Zero(t, s.Dropped())
	send(t, box, 6)
	assert.Equal(t, []string{"6"}, contents(t, box, telemetry))
	assert.Equal(t, []string{"5"}, contents(t, other, telemetry))
	assert.Equal(t, 1, box.Stats().Kept)
	require.NoError(t, f.Close())

	f = open(t, path, quickly)
	box = boxOf(t, f)
	assert.Equal(t, []string{"6"}, contents(t, box, telemetry))
	assert.Empty(t, contents(t, box, alarms))
	assert.Equal(t, 1, box.Stats().Kept)
}
