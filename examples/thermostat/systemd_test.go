// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/rehome-iot/rehome/hubconn/hubtest"
	"github.com/rehome-iot/rehome/provisioning/dpstest"
)

// manager is the service manager's side of sd_notify(3).
type manager struct {
	mu   sync.Mutex
	said []string // assignments
}

// newManager returns what the environment of a service says, too.
func newManager(t *testing.T, more ...string) (m *manager, environ []string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sd") // t.TempDir's may be too long for a socket
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	return listenAt(t, socket), append(more, "NOTIFY_SOCKET="+socket)
}

func listenAt(t *testing.T, socket string) *manager {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	require.NoError(t, err)
	m := &manager{}
	over := make(chan struct{})
	t.Cleanup(func() { c.Close(); <-over })
	go func() {
		defer close(over)
		for buffer := make([]byte, 4096); ; {
			n, err := c.Read(buffer)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.said = append(m.said, strings.Split(string(buffer[:n]), "\n")...)
			m.mu.Unlock()
		}
	}()
	return m
}

func (m *manager) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.said)
}

func (m *manager) count(assignment string) (n int) {
	for _, s := range m.all() {
		if s == assignment {
			n++
		}
	}
	return n
}

func (m *manager) await(t *testing.T, beginning string) {
	t.Helper()
	eventually(t, beginning, func() bool {
		return slices.ContainsFunc(m.all(), func(s string) bool {
			return strings.HasPrefix(s, beginning)
		})
	})
}

func TestServiceIsReadyWhenTheDeviceIsConnected(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	s.dps.Inject(dpstest.Fault{On: dpstest.Register, Status: 503, RetryAfter: "1"})
	m, environ := newManager(t)
	p := launch(t, s.keyFlags("board"), environ...)
	m.await(t, "READY=1")
	said := m.all()
	ready := slices.Index(said, "READY=1")
	assert.Equal(t, "STATUS=connected to "+hubA+" (from registration)", said[ready-1])
	before := strings.Join(said[:ready-1], "\n")
	assert.Contains(t, before, "STATUS=registering: nothing remembered")
	assert.Contains(t, before, "STATUS=waiting until 20")
	assert.Contains(t, before, "503", "the cause")

	p.signal(syscall.SIGHUP)
	m.await(t, "RELOADING=1")
	eventually(t, "the end of that", func() bool { return m.count("READY=1") == 2 })
	said = m.all()
	assert.Less(t, slices.Index(said, "RELOADING=1"), len(said)-1)

	invoke(t, s.a, "reboot", map[string]any{"delay": 1}, 202)
	_, after := p.await("the reboot", 0, func(r record) bool {
		return r.Msg == "thermostat starts"
	})
	_, after = p.await("another start", after, func(r record) bool {
		return r.Msg == "thermostat starts"
	})
	p.await("connected again", after, state("connected"))
	assert.Zero(t, m.count("STOPPING=1"), "for systemd the service has been running all the time")
	p.stop()
	m.await(t, "STOPPING=1")
	m.await(t, "STATUS=stopping: terminated")
	assert.Equal(t, 2, m.count("READY=1"), "it is said once, but for a reload")
}

func TestServiceThatCannotConnectIsAliveAndNotReady(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
	m, environ := newManager(t, "WATCHDOG_USEC=100000")
	p := launch(t, s.keyFlags("board"), environ...)
	m.await(t, "STATUS=waiting until")
	alive := m.count("WATCHDOG=1")
	eventually(t, "signs of life", func() bool { return m.count("WATCHDOG=1") > alive+3 })
	assert.Positive(t, m.count("EXTEND_TIMEOUT_USEC=100000"), "the start may take longer")
	p.signal(syscall.SIGHUP) // which ends in no READY
	p.await("reprovisioned", 0, func(r record) bool { return r.Msg == "reprovisioned" })
	assert.Zero(t, m.count("READY=1"))
	assert.Zero(t, m.count("RELOADING=1"))
	p.stop()
}

func TestWatchdogIsAnotherProcesses(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	m, environ := newManager(t, "WATCHDOG_USEC=1000", "WATCHDOG_PID=1")
	p := launch(t, s.keyFlags("board"), environ...)
	m.await(t, "READY=1")
	time.Sleep(20 * time.Millisecond) // as many as ten signs of life
	assert.Zero(t, m.count("WATCHDOG=1"))
	p.stop()
}

func TestProgramGoesOnWithoutAServiceManagerThatListens(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	p := launch(t, s.keyFlags("board"), "WATCHDOG_USEC=100000",
		"NOTIFY_SOCKET="+filepath.Join(s.dir, "nobody"))
	p.await("connected", 0, state("connected"))
	p.stop()
}

// The key as systemd hands it over: LoadCredential=thermostat.key.
func TestKeysMayBeCredentialsOfTheServiceManager(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	credentials := "CREDENTIALS_DIRECTORY=" + s.dir
	args := append(s.flags(), "-registration-id", "board")
	p := launch(t, args, credentials) // nothing there: as without
	assert.Equal(t, 2, p.wait(patience))
	assert.Contains(t, p.Stderr(), "there is no credential: give -key")

	s.write(t, "thermostat.key", []byte(canaryKey+"\n"), 0o400)
	s.write(t, "thermostat.group-key", []byte("\n"), 0o400) // waits to be filled in
	s.write(t, "thermostat.store", []byte("/nowhere"), 0o400)
	p = launch(t, args, credentials)
	p.await("connected", 0, state("connected"))
	p.stop()
	for name, c := range map[string]struct {
		args []string
		env  string
		says string
	}{
		"a flag goes before":        {args: []string{"-key", "c2hvcnQ="}, says: "thermostat: -key: "},
		"a variable goes before":    {env: "THERMOSTAT_KEY=c2hvcnQ=", says: "thermostat: THERMOSTAT_KEY: "},
		"two ways to say who it is": {env: "THERMOSTAT_GROUP_KEY=" + canaryGroupKey, says: "thermostat: the credential thermostat.key and THERMOSTAT_GROUP_KEY are both given: keep one"},
	} {
		p := launch(t, append(args, c.args...), credentials, c.env)
		assert.Equal(t, 2, p.wait(patience), name)
		assert.Contains(t, p.Stderr(), c.says, name)
	}
	s.write(t, "thermostat.key", []byte("canary-key: not base64"), 0o600)
	p = launch(t, args, credentials)
	assert.Equal(t, 2, p.wait(patience))
	assert.Contains(t, p.Stderr(), "thermostat: the credential thermostat.key: ")
	assert.NotContains(t, p.Stderr(), "canary")
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "thermostat.second-key"), 0o700))
	p = launch(t, args, credentials)
	assert.Equal(t, 2, p.wait(patience))
	assert.Contains(t, p.Stderr(), "the credential thermostat.second-key cannot be read")
}

// A service manager that is being replaced does not listen for a moment, and a device may stay
// connected for months.
func TestReadinessThatNobodyHeardIsToldAgain(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	dir, err := os.MkdirTemp("", "sd")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	p := launch(t, s.keyFlags("board"), "WATCHDOG_USEC=100000", "NOTIFY_SOCKET="+socket)
	p.await("connected", 0, state("connected"))
	listenAt(t, socket).await(t, "READY=1")
	p.stop()
}

// Who switches the watchdog off still has a device that may wait for its network for days.
func TestStartMayTakeLongerWithoutAWatchdogToo(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	s.a.Inject(hubtest.Fault{On: hubtest.Connect, ReturnCode: 3, Times: -1})
	m, environ := newManager(t)
	p := launch(t, s.keyFlags("board"), environ...)
	m.await(t, "EXTEND_TIMEOUT_USEC=180000000")
	assert.Zero(t, m.count("WATCHDOG=1"))
	p.stop()
}

// A log that nobody reads any more, as of a journal that was killed, ends no device.
func TestProgramGoesOnWhenItsLogIsNotRead(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.enroll(t, "board")
	read, write, err := os.Pipe()
	require.NoError(t, err)
	c := exec.Command(program, s.keyFlags("board")...)
	c.Env, c.Stderr = []string{}, write
	require.NoError(t, c.Start())
	t.Cleanup(func() { _ = c.Process.Kill() })
	require.NoError(t, write.Close())
	_, err = read.Read(make([]byte, 1))
	require.NoError(t, err)
	require.NoError(t, read.Close())
	eventually(t, "connected", func() bool { return s.a.Connected("board") })
	s.a.Disconnect("board") // which it says
	eventually(t, "connected again", func() bool { return len(s.a.Attempts()) > 1 })
	require.NoError(t, c.Process.Signal(syscall.SIGTERM))
	assert.NoError(t, c.Wait())
}
