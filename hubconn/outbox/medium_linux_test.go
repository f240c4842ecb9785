// SPDX-License-Identifier: Apache-2.0

package outbox

import (
	"bytes"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn"
	"github.com/rehome-iot/rehome/internal/smalldisk"
)

func TestAFullDiskFailsASendAndLosesNothing(t *testing.T) {
	dir, ok := smalldisk.Mounted(t, "256k")
	if !ok {
		return
	}
	var log bytes.Buffer
	o := quickly
	o.Logger = slog.New(slog.NewTextHandler(&log, nil))
	f := open(t, filepath.Join(dir, "outbox.db"), o)
	box := boxOf(t, f)
	kept := 0
	body := func(n int) hubconn.Message {
		m := numbered(n)
		m.Body = append(m.Body, strings.Repeat(" canary-body", 100)...)
		return m
	}
	var failed error
	for ; failed == nil; kept++ {
		require.Less(t, kept, 1000)
		failed = box.Send(t.Context(), body(kept))
	}
	kept--
	e := oneLine(t, failed, f.path, "has no room on its disk: free some space")
	assert.ErrorIs(t, e, syscall.ENOSPC)
	assert.Equal(t, "send", e.Op)
	require.Error(t, box.Send(t.Context(), body(kept)), "once more")
	check := func(box *Outbox, n int) {
		t.Helper()
		bodies := contents(t, box, telemetry)
		require.Len(t, bodies, n)
		for i, got := range bodies {
			assert.Equal(t, string(body(i).Body), got)
		}
		assert.Equal(t, n, box.Stats().Kept)
	}
	check(box, kept)
	assert.NotZero(t, f.Stats().Failed)
	assert.Error(t, f.Stats().Err)

	smalldisk.Remount(t, dir, 0, "size=4m")
	require.NoError(t, box.Send(t.Context(), body(kept)))
	check(box, kept+1)
	assert.NoError(t, f.Stats().Err)
	require.NoError(t, f.Close())
	check(boxOf(t, open(t, f.path, o)), kept+1)
	assert.Equal(t, 1, strings.Count(log.String(), "outbox not written"), "not each time")
	assert.Equal(t, 1, strings.Count(log.String(), "outbox written again"))
	assert.NotContains(t, log.String(), "canary")
}

func TestAReadOnlyFileSystemIsTold(t *testing.T) {
	dir, ok := smalldisk.Mounted(t, "1m")
	if !ok {
		return
	}
	path := filepath.Join(dir, "outbox.db")
	f := open(t, path, quickly)
	send(t, boxOf(t, f), 0)
	require.NoError(t, f.Close())
	smalldisk.Remount(t, dir, syscall.MS_RDONLY, "")
	_, err := Open(path, quickly)
	oneLine(t, err, path, "is on a read-only file system: remount it writable or name another")
	_, err = Open(filepath.Join(dir, "new.db"), quickly)
	oneLine(t, err, "new.db is on a read-only file system")
	smalldisk.Remount(t, dir, 0, "")
	assert.Equal(t, []string{"0"}, contents(t, boxOf(t, open(t, path, quickly)), telemetry))
}
