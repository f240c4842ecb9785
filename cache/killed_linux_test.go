// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/internal/atomicfile"
	"github.com/rehome-iot/rehome/internal/boottime"
)

const (
	killedStore = "CACHE_TEST_KILLED_STORE"
	killedAt    = "CACHE_TEST_KILLED_AT"
)

// TestKilledProgram is what the other tests kill. It stores one value after the
// other, and says so, until it is killed: by them, or by itself before the
// operation on the file system that they choose.
func TestKilledProgram(t *testing.T) {
	d := Dir(os.Getenv(killedStore))
	if d == "" {
		t.Skip("runs in a process of its own")
	}
	if at, err := strconv.Atoi(os.Getenv(killedAt)); err == nil {
		atomicfile.OS = &mortal{atomicfile.OS, at}
	}
	for i := 0; ; i++ {
		value := bytes.Repeat([]byte{byte('a' + i%26)}, 1+i%3*5000)
		if err := d.PutWaits(context.Background(), "key", value); err != nil {
			t.Fatal(err)
		}
		fmt.Println(i)
	}
}

// A mortal file system kills its process before an operation.
type mortal struct {
	atomicfile.FS
	left int
}

func (m *mortal) live() {
	if m.left == 0 {
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
	m.left--
}

func (m *mortal) Create(path string, perm fs.FileMode) (atomicfile.File, error) {
	m.live()
	file, err := m.FS.Create(path, perm)
	return mortalFile{file, m}, err
}

func (m *mortal) Rename(oldpath, newpath string) error {
	m.live()
	return m.FS.Rename(oldpath, newpath)
}

func (m *mortal) Remove(path string) error {
	m.live()
	return m.FS.Remove(path)
}

func (m *mortal) List(dir string) ([]string, error) {
	m.live()
	return m.FS.List(dir)
}

func (m *mortal) Mkdir(path string, perm fs.FileMode) error {
	m.live()
	return m.FS.Mkdir(path, perm)
}

type mortalFile struct {
	atomicfile.File
	m *mortal
}

func (f mortalFile) Write(p []byte) (int, error) {
	f.m.live()
	return f.File.Write(p)
}

func (f mortalFile) Close() error {
	f.m.live()
	return f.File.Close()
}

// program runs until it has stored that many values, and kills it then; it returns
// how many it is known to have stored.
func program(t *testing.T, d Dir, runtime string, enough int, settings ...string) (stored int) {
	t.Helper()
	command := exec.Command(os.Args[0], "-test.run=^TestKilledProgram$")
	command.Env = append(os.Environ(), killedStore+"="+string(d), runtimeDirForTests+"="+runtime)
	command.Env = append(command.Env, settings...)
	out, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	for lines := bufio.NewScanner(out); stored < enough && lines.Scan(); stored++ {
		require.Equal(t, strconv.Itoa(stored), lines.Text())
	}
	command.Process.Kill() // it may be dead already
	command.Wait()
	state, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGKILL, state.Signal(), "it ended by itself")
	return stored
}

// eachPlace runs test with a runtime directory and without.
func eachPlace(t *testing.T, test func(t *testing.T, d Dir, runtime string)) {
	t.Run("runtime directory", func(t *testing.T) {
		d, runtime := rig(t)
		test(t, d, runtime)
		assert.NoDirExists(t, string(d))
	})
	t.Run("beside the entry", func(t *testing.T) {
		d, _ := rig(t)
		SetRuntimeDir(t, "")
		test(t, d, "")
	})
}

// leftBehind counts files: one of waits, and at most one that the last kill left.
func leftBehind(t *testing.T, d Dir, runtime string) int {
	t.Helper()
	if runtime == "" {
		return len(files(t, string(d)))
	}
	return len(files(t, runtime))
}

func TestKillBeforeAnyOperationLeavesTheOldWaitsOrTheNew(t *testing.T) {
	eachPlace(t, func(t *testing.T, d Dir, runtime string) {
		for at := range 25 {
			putWaits(t, d, "key", "old")
			stored := program(t, d, runtime, 100, fmt.Sprintf("%s=%d", killedAt, at))
			data, _ := waits(t, d, "key")
			if stored == 0 && data == "old" {
				continue
			}
			last := data[0] - 'a'
			assert.Contains(t, []int{stored - 1, stored}, int(last), "operation %d", at)
			assert.Len(t, data, 1+int(last)%3*5000)
			assert.LessOrEqual(t, leftBehind(t, d, runtime), 2)
		}
		putWaits(t, d, "key", "")
		assert.Zero(t, leftBehind(t, d, runtime))
	})
}

func TestCrashLoopLeavesWholeWaitsOfKnownAge(t *testing.T) {
	eachPlace(t, func(t *testing.T, d Dir, runtime string) {
		// The program reads the machine's own clock.
		replaceWith(t, &boottime.BootIDFile, "/proc/sys/kernel/random/boot_id")
		replaceWith(t, &boottime.UptimeFile, "/proc/uptime")
		for range 15 {
			before := time.Now()
			program(t, d, runtime, 1+rand.N(20))
			data, age := waits(t, d, "key")
			require.NotEmpty(t, data)
			assert.Equal(t, bytes.Repeat([]byte(data[:1]), len(data)), []byte(data))
			assert.LessOrEqual(t, age, time.Since(before))
			if boottime.Read() != (boottime.Moment{}) {
				assert.GreaterOrEqual(t, age, time.Duration(0))
			}
			assert.LessOrEqual(t, leftBehind(t, d, runtime), 2)
		}
	})
}
