// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"os"
	"syscall"
)

// hangup is the signal that asks for reprovisioning.
var hangup = []os.Signal{syscall.SIGHUP}

// brokenPipe is what a line of the log meets when whoever reads it has ended, as a journal does
// that is killed. It would end a program that has not asked for it, and with a signal that systemd
// takes for a good end.
var brokenPipe = []os.Signal{syscall.SIGPIPE}
