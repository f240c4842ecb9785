// SPDX-License-Identifier: Apache-2.0

// Command simulator runs a provisioning service (DPS) and its IoT hubs on this machine, for devices
// and operators' tools in any language. One pair of ports serves all hosts, told apart by the TLS
// server name. README.md has its flags and examples, docs/simulator.md its files and interfaces.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
)

// Exit codes.
const (
	exitDone   = 0 // asked to end, and ended
	exitFailed = 1 // something that should not happen: a port is taken, a file cannot be written
	exitUsage  = 2 // a flag or a file is wrong: one line says which
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once
	err := serve(ctx, args, stdout, stderr)
	if err == nil {
		return exitDone
	}
	if errors.Is(err, flag.ErrHelp) {
		printUsage(stdout)
		return exitDone
	}
	// One line, whatever a file's name or an operating system's message holds.
	line := printable(strings.ReplaceAll(err.Error(), "\n", "; "))
	fmt.Fprintf(stderr, "simulator: %s\n", withoutSecrets(line))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	return exitFailed
}

// usageError is a wrong flag, or a file that one names.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	f, err := readFlags(args)
	if err != nil {
		return usageError{err}
	}
	cfg, err := readConfig(f)
	if err != nil {
		return usageError{err}
	}
	scenario, err := readScenario(f.faults, cfg.hubNames())
	if err != nil {
		return usageError{err}
	}
	sim, err := start(f, cfg, newLogger(stderr))
	if err != nil {
		return err
	}
	sim.begin(scenario)
	if err := sim.announce(stdout, stderr); err != nil {
		return errors.Join(err, sim.close())
	}
	sim.journal(ctx)
	sim.route(ctx)
	sim.play(ctx, scenario)
	<-ctx.Done()
	return sim.close()
}

// newLogger returns the log on standard error: lines of text for people. Programs read the ready
// line.
func newLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
