// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// trial is one way to run the thermostat, and the exit status it should end with.
type trial struct {
	args []string
	env  string
	want int
}

// Keys that would be recognised in what the program prints.
var (
	canaryKey   = base64.StdEncoding.EncodeToString([]byte("canary-key-of-a-thermostat-000001"))
	canaryGroup = base64.StdEncoding.EncodeToString([]byte("canary-key-of-a-group-of-them-0001"))
)

// trials are the program as people run it, right and wrong. Nothing answers on port 1.
func trials(missing string) []trial {
	var all []trial
	try := func(want int, args ...string) { all = append(all, trial{args: args, want: want}) }
	for _, format := range []string{"json", "text"} {
		try(0, "-log-format", format, "-key", canaryKey)
		try(0, "-log-format", format, "-transport", "mqtt", "-group-key", canaryGroup)
		try(0, "-log-format", format, "-key", canaryKey, "-second-key", canaryGroup, "-csr")
	}
	all = append(all, trial{args: []string{"-transport", "ws"}, env: "THERMOSTAT_KEY=" + canaryKey})
	try(1, "-key", canaryKey, "-status") // nothing is stored
	try(2, "-key", "canary-key: not base64")
	try(2, "-key", canaryKey, "-second-key", "canary-key: not base64")
	try(2, "-key", canaryKey, "-group-key", canaryGroup)
	try(2, "-key", canaryKey, "-cert", missing)
	try(2, "-key", canaryKey, "-no-such-flag")
	return all
}

// thermostats runs the program in all of these ways, and returns the names of what it has printed.
func (w *workshop) thermostats() (logs []string, err error) {
	binary, err := w.build("thermostat", "./examples/thermostat")
	if err != nil {
		return nil, err
	}
	all := trials(w.path("missing"))
	failed := make([]error, len(all))
	var running sync.WaitGroup
	for i, t := range all {
		log := fmt.Sprintf("thermostat.%d.log", i)
		logs = append(logs, w.path(log))
		t.args = append([]string{
			"-id-scope", "0ne00000001", "-registration-id", "thermostat-1",
			"-connect-to", "::127.0.0.1:1", "-store", filepath.Join(w.out, fmt.Sprint("store.", i)),
		}, t.args...)
		running.Go(func() { failed[i] = w.watch(t, binary, log) })
	}
	running.Wait()
	say(os.Stdout, "%d runs of thermostat", len(all))
	return logs, errors.Join(failed...)
}

// watch lets the program run for a while, ends it if it has not ended by itself, and checks how.
func (w *workshop) watch(t trial, binary, log string) error {
	c := exec.Command(binary, t.args...)
	if t.env != "" {
		c.Env = append(os.Environ(), t.env)
	}
	stop := time.AfterFunc(time.Minute, func() { _ = c.Process.Kill() })
	defer stop.Stop()
	over := make(chan struct{})
	go func() {
		for !w.has(log) { // from its first line on it knows what to do about a signal
			select {
			case <-over:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
		select {
		case <-over:
		case <-time.After(4 * time.Second):
			_ = c.Process.Signal(syscall.SIGTERM)
		}
	}()
	text, err := w.logged(log, c)
	close(over)
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		return err
	}
	if got := c.ProcessState.ExitCode(); got != t.want {
		return fmt.Errorf("thermostat, status %d, not %d (%s):\n%s", got, t.want, log, text)
	}
	return nil
}
