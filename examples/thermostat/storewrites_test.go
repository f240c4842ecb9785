// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main_test

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/simnet"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

func TestSteadyStartsWriteNothing(t *testing.T) {
	t.Parallel()
	together(t, map[string]func(p *process){
		"after one that was stopped": func(p *process) { p.stop() },
		// It leaves waits behind, since its connection was not stable yet.
		"after one that was killed": func(p *process) { p.signal(syscall.SIGKILL); <-p.Ended },
	}, func(t *testing.T, end func(p *process)) {
		s := newSite(t)
		s.enroll(t, "board")
		first := launch(t, s.keyFlags("board"))
		first.await("connected", 0, state("connected"))
		eventually(t, "a message", func() bool { return len(messages(s.a, "board")) > 0 })
		end(first)
		before := traces(t, filepath.Join(s.dir, "store-board"))
		for range 5 {
			sent := len(messages(s.a, "board"))
			p := launch(t, s.keyFlags("board"))
			p.await("connected", 0, state("connected"))
			eventually(t, "messages", func() bool {
				return len(messages(s.a, "board")) > sent+1
			})
			io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.Cmd.Process.Pid))
			// A container may hide it. A start that a busy machine cut short has a wait to keep.
			if log := p.Stderr(); err == nil && !strings.Contains(log, `"state":"waiting"`) {
				assert.Contains(t, string(io), "\nwrite_bytes: 0\n", log)
			}
			p.signal(syscall.SIGKILL)
			<-p.Ended
			assert.Equal(t, before, traces(t, filepath.Join(s.dir, "store-board")))
		}
	})
}

// traces is what a write to a directory or a file in it leaves behind, whatever it writes. It reads
// each file: who is the first to do so after a write has the system note the time of it, which may
// count as a write of theirs.
func traces(t *testing.T, dir string) (all []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if d.Type().IsRegular() {
			if _, err := os.ReadFile(path); err != nil {
				return err
			}
		}
		stat := info.Sys().(*syscall.Stat_t)
		all = append(all, fmt.Sprint(path, " ", stat.Ino, info.Size(), stat.Mtim, stat.Ctim))
		return nil
	}))
	return all
}

// What a crash loop keeps is written over and over, and nothing of it is forced to the medium.
func TestProcessesThatAreKilledOverAndOverWriteWithoutSync(t *testing.T) {
	t.Parallel()
	if err := exec.Command("strace", "-qq", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("strace does not work here: %v", err)
	}
	// The registration never ends, so that the device is asked to wait each second.
	s := newSiteAt(t, simnet.ListenConfig{}, dpstest.Config{
		AssignTime: 1000 * time.Hour, RetryAfter: time.Second, PollsPer10s: -1,
	})
	s.enroll(t, "board")
	renames := 0
	for start := range 3 {
		polls := s.dps.Count(dpstest.Poll)
		log := filepath.Join(s.dir, "calls")
		c := exec.Command("strace", append([]string{
			"-f", "-qq", "-o", log,
			"-e", "trace=fsync,fdatasync,msync,sync,syncfs,sync_file_range,/^rename", program,
		}, s.keyFlags("board")...)...)
		c.Env = []string{}
		c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that both can be killed
		require.NoError(t, c.Start())
		eventually(t, "polls", func() bool { return s.dps.Count(dpstest.Poll) > polls+1 })
		assert.NoError(t, syscall.Kill(-c.Process.Pid, syscall.SIGKILL))
		_ = c.Wait()
		calls, err := os.ReadFile(log)
		require.NoError(t, err)
		synced := strings.Count(string(calls), "sync")
		if start == 0 {
			assert.Positive(t, synced, "the store's directory, when it is made")
			continue
		}
		assert.Zero(t, synced, "%s", calls)
		renames += strings.Count(string(calls), "rename")
	}
	assert.Positive(t, renames, "the waits")
	assert.Equal(t, 1, s.dps.Count(dpstest.Register))
}
