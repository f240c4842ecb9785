// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
)

// running asks with -status, and checks its exit status.
func (s *site) running(t *testing.T, args []string, code int) *running {
	t.Helper()
	p := launch(t, append(args, "-status"))
	assert.Equal(t, code, p.wait(patience), p.Stderr())
	var got struct{ Running *running }
	require.NoError(t, json.Unmarshal([]byte(p.Stdout.String()), &got), p.Stdout.String())
	return got.Running
}

// What is remembered says nothing of now: the exit status is that of the process that runs.
func TestStatusSaysWhetherTheRunningDeviceIsConnected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	args := s.keyFlags("board")
	assert.Nil(t, s.running(t, args, 1), "nothing is stored")

	p := launch(t, args)
	p.await("connected", 0, state("connected"))
	got := s.running(t, args, 0)
	require.NotNil(t, got)
	assert.Equal(t, "connected", got.State)
	assert.Equal(t, hubA, got.Hub)
	assert.Equal(t, "registration", got.Source)
	assert.Empty(t, got.Cause)
	since, err := time.Parse(time.RFC3339, got.Since)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now(), since, 10*patience)

	// By another way to the same store, and of another device.
	link := filepath.Join(s.dir, "link")
	require.NoError(t, os.Symlink(filepath.Join(s.dir, "store-board"), link))
	assert.NotNil(t, s.running(t, append(s.keyFlags("board"), "-store", link), 0))
	assert.Nil(t, s.running(t, append(s.keyFlags("board"), "-registration-id", "other"), 1))

	s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
	s.a.Disconnect("board")
	p.await("waiting", 0, func(r record) bool {
		return r.State == "waiting" && r.Source == "registration"
	})
	eventually(t, "it says so", func() bool {
		got := s.running(t, args, 3)
		return got != nil && got.State != "connected" && got.Cause != ""
	})
	p.stop()
	assert.Nil(t, s.running(t, args, 3), "it does not run")
}

func TestStatusIsNotThatOfAProgramWhichWasKilled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	args := s.keyFlags("board")
	for range 2 { // the second takes the place of the first
		p := launch(t, args)
		p.await("connected", 0, state("connected"))
		assert.NotNil(t, s.running(t, args, 0))
		p.signal(syscall.SIGSTOP)
		got := s.running(t, args, 3)
		require.NotNil(t, got)
		assert.Equal(t, "unknown", got.State, "it runs, and does not answer")
		p.signal(syscall.SIGKILL)
		<-p.Ended
		assert.Nil(t, s.running(t, args, 3))
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "store-board"))
	require.NoError(t, err)
	for _, f := range files {
		assert.NotEqual(t, os.ModeSocket, f.Type(), "no socket is made where flash may be")
	}
}

func TestASecondProgramWithTheSameStoreIsTold(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	first := launch(t, s.keyFlags("board"))
	first.await("connected", 0, state("connected"))
	second := launch(t, s.keyFlags("board"))
	second.await("a warning", 0, func(r record) bool {
		return r.Level == "WARN" && r.Cause == "another process answers for this store"
	})
	second.stop()
	first.stop()
}
