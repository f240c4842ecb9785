// SPDX-License-Identifier: Apache-2.0

// Package systemd tells the service manager how a program is doing, by the protocol of
// sd_notify(3): datagrams to the Unix socket that NOTIFY_SOCKET names. Where there is none, as in a
// shell, it does nothing.
package systemd

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// patience is how long a service manager that does not read may hold up the program.
const patience = time.Second

// Notifier sends notifications. The zero value sends none. It is safe for concurrent use.
type Notifier struct {
	// Watchdog is within which time the service manager wants to hear of the program again and
	// again; zero if it does not ask for that.
	Watchdog time.Duration

	to *net.UnixAddr
}

// Open reads what the service manager says in the environment of the process with this number.
// With an error it returns a Notifier that sends nothing.
func Open(environ []string, pid int) (*Notifier, error) {
	n := &Notifier{}
	var socket, watchdog, of string
	for _, entry := range environ {
		switch name, value, _ := strings.Cut(entry, "="); name {
		case "NOTIFY_SOCKET":
			socket = value
		case "WATCHDOG_USEC":
			watchdog = value
		case "WATCHDOG_PID": // another process's, if this one only inherited the environment
			of = value
		}
	}
	switch {
	case socket == "":
		return n, nil
	case socket[0] != '/' && socket[0] != '@': // sd_notify(3) knows vsock too, of virtual machines
		return n, fmt.Errorf("NOTIFY_SOCKET is %q, not the path of a socket: nothing is told to "+
			"the service manager", socket)
	}
	n.to = &net.UnixAddr{Name: socket, Net: "unixgram"} // Go reads @ as the abstract name space
	us, err := strconv.ParseUint(watchdog, 10, 53)
	if err == nil && (of == "" || of == strconv.Itoa(pid)) {
		n.Watchdog = time.Duration(us) * time.Microsecond
	}
	return n, nil
}

// Active says that there is a service manager to tell anything.
func (n *Notifier) Active() bool { return n.to != nil }

// Send sends assignments such as "READY=1" in one datagram.
func (n *Notifier) Send(assignments ...string) error {
	if !n.Active() || len(assignments) == 0 {
		return nil
	}
	// A socket for each message, as sd_notify does: the manager may have been replaced since.
	c, err := net.DialUnix("unixgram", nil, n.to)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err = c.Write([]byte(strings.Join(assignments, "\n")))
	return err
}

// Alive keeps the watchdog, if there is one, quiet until its time has passed again. Before READY=1
// has been sent, more is how much more time the start of the service may take from now on.
func (n *Notifier) Alive(more time.Duration) error {
	var say []string
	if n.Watchdog > 0 {
		say = append(say, "WATCHDOG=1")
	}
	if more > 0 {
		say = append(say, "EXTEND_TIMEOUT_USEC="+strconv.FormatInt(more.Microseconds(), 10))
	}
	return n.Send(say...)
}

// Status is the assignment that systemctl status shows as text.
func Status(text string) string { return "STATUS=" + strings.ReplaceAll(text, "\n", " ") }
