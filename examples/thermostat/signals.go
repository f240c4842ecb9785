// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"syscall"
)

// inbox is where the signals arrive.
type inbox struct {
	stop        chan os.Signal // SIGTERM, SIGINT: disconnect and end
	reprovision chan os.Signal // SIGHUP: ask DPS where the device belongs now
}

func openInbox() *inbox {
	i := &inbox{stop: make(chan os.Signal, 1), reprovision: make(chan os.Signal, 1)}
	signal.Notify(i.stop, os.Interrupt, syscall.SIGTERM)
	if len(hangup) > 0 { // Notify without signals would ask for all of them
		signal.Notify(i.reprovision, hangup...)
	}
	if len(brokenPipe) > 0 {
		signal.Ignore(brokenPipe...)
	}
	return i
}

// stopping lets a second Ctrl-C end the program at once. Another SIGTERM changes nothing: service
// managers send it to the whole group, so a process may get it twice, and the end that it asked for
// is under way. The signals stay caught up to the program's last moment.
func (i *inbox) stopping() { signal.Reset(os.Interrupt) }
