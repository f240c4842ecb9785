// SPDX-License-Identifier: Apache-2.0

package live

import (
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// as runs f on a thread of another user: what it listens on is that user's.
func as(t *testing.T, uid int, f func()) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	become := func(uid int) {
		keep := ^uintptr(0)
		_, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, keep, uintptr(uid), keep)
		require.Zero(t, errno)
	}
	become(uid)
	defer become(0)
	f()
}

// The program of a service has a user of its own, and root asks.
func TestRootBelievesTheUserOfTheStore(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const owner, somebody = 4711, 4712
	for who, c := range map[string]struct {
		uid      int
		believed bool
	}{
		"owner":        {owner, true},
		"somebody":     {somebody, false},
		"dynamic user": {dynamicMin, true}, // the directory is then said to be nobody's
		"other ranges": {dynamicMax + 1, false},
	} {
		store := t.TempDir()
		require.NoError(t, os.Chown(store, owner, owner))
		var l *net.UnixListener
		as(t, c.uid, func() {
			var err error
			l, err = listen(&net.UnixAddr{Name: name(store, "board"), Net: "unix"})
			require.NoError(t, err)
		})
		t.Cleanup(func() { l.Close() })
		go func() {
			c, err := l.AcceptUnix()
			if err == nil {
				answer(c, func() State { return State{State: "connected"} })
			}
		}()
		got, err := Ask(t.Context(), store, "board")
		assert.NoError(t, err, who)
		assert.Equal(t, c.believed, got != nil, who)
	}
}
