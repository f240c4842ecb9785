//go:build unix

package main

import (
	"os"
	"syscall"
)

// hangup is the signal that asks for reprovisioning.
var hangup = []os.Signal{syscall.SIGHUP}
