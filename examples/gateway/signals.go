// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// signals is where the signals arrive.
type signals struct {
	stop   chan os.Signal // SIGTERM, SIGINT: disconnect and end
	reload chan os.Signal // SIGHUP: read the identities again
}

func listenToSignals() *signals {
	s := &signals{stop: make(chan os.Signal, 2), reload: make(chan os.Signal, 1)}
	signal.Notify(s.stop, os.Interrupt, syscall.SIGTERM)
	signal.Notify(s.reload, syscall.SIGHUP) // Windows sends none
	// A log that nobody reads any more, as of a journal that was killed, ends no device.
	signal.Ignore(syscall.SIGPIPE)
	return s
}

// stopping lets a second Ctrl-C end the program at once. Another SIGTERM changes nothing: service
// managers send it to the whole group, so a process may get it twice.
func (s *signals) stopping() { signal.Reset(os.Interrupt) }
