// SPDX-License-Identifier: Apache-2.0

package systemd

import (
	"crypto/rand"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNotificationsReachASocketInTheAbstractNameSpace(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("it is Linux's")
	}
	at := &net.UnixAddr{Name: "@rehome-test-" + rand.Text(), Net: "unixgram"}
	c, err := net.ListenUnixgram("unixgram", at)
	require.NoError(t, err)
	defer c.Close()
	n, err := Open([]string{
		"NOTIFY_SOCKET=" + at.Name, "WATCHDOG_USEC=180000000", "WATCHDOG_PID=7",
	}, 7)
	require.NoError(t, err)
	assert.Equal(t, 3*time.Minute, n.Watchdog)
	heard := func() string {
		buffer := make([]byte, 1024)
		n, err := c.Read(buffer)
		require.NoError(t, err)
		return string(buffer[:n])
	}
	require.NoError(t, n.Send(Status("two\nlines"), "READY=1"))
	assert.Equal(t, "STATUS=two lines\nREADY=1", heard())
	require.NoError(t, n.Alive(0))
	assert.Equal(t, "WATCHDOG=1", heard())
	require.NoError(t, n.Alive(3*time.Minute))
	assert.Equal(t, "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=180000000", heard())
	n.Watchdog = 0
	require.NoError(t, n.Alive(0)) // nothing to say
	require.NoError(t, n.Alive(time.Second))
	assert.Equal(t, "EXTEND_TIMEOUT_USEC=1000000", heard())
}

func TestWhatTheServiceManagerSaysIsCheckedAndMayBeMissing(t *testing.T) {
	socket := "NOTIFY_SOCKET=/run/systemd/notify"
	for name, environ := range map[string][]string{
		"no service manager":       {"WATCHDOG_USEC=1000"},
		"no watchdog":              {socket},
		"not a number":             {socket, "WATCHDOG_USEC=soon"},
		"negative":                 {socket, "WATCHDOG_USEC=-1"},
		"another process's":        {socket, "WATCHDOG_USEC=1000", "WATCHDOG_PID=8"},
		"longer than there are µs": {socket, "WATCHDOG_USEC=18446744073709551615"},
	} {
		n, err := Open(environ, 7)
		require.NoError(t, err, name)
		assert.Zero(t, n.Watchdog, name)
	}
	n, err := Open([]string{"NOTIFY_SOCKET=vsock:2:1234"}, 7)
	assert.ErrorContains(t, err, "NOTIFY_SOCKET")
	assert.NoError(t, n.Send("READY=1"))
	assert.NoError(t, (&Notifier{}).Send("READY=1"))
}
