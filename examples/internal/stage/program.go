// SPDX-License-Identifier: Apache-2.0

package stage

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/rehome-iot/rehome/cache"
	"github.com/rehome-iot/rehome/hubconn/simnet"
)

// Exit codes.
const (
	AsExpected  = 0
	Otherwise   = 1
	Interrupted = 130 // as a shell reports a program that Ctrl-C ended
)

// Program is a play as a command without arguments.
type Program struct {
	Name  string
	Cast  string // who is on: "A device, a simulated DPS and …"
	Build func(*simnet.Network, cache.Store) (*World, []Step, error)
	Print func(*Report, *Narrator) // the table
}

// Main runs the program and ends it.
func (p *Program) Main() {
	if len(os.Args) > 1 {
		fmt.Fprintf(os.Stderr, "%s: it takes no arguments: go run ./examples/%[1]s\n", p.Name)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the program at once
	code, err := p.Run(ctx, os.Stdout)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.Name, err)
	}
	os.Exit(code)
}

// Run plays on loopback sockets, with a store in a temporary directory. Both are gone when it
// returns.
func (p *Program) Run(ctx context.Context, out io.Writer) (code int, err error) {
	dir, err := os.MkdirTemp("", p.Name+"-")
	if err != nil {
		return Otherwise, err
	}
	defer os.RemoveAll(dir)
	network, err := simnet.Listen(simnet.ListenConfig{})
	if err != nil {
		return Otherwise, err
	}
	defer network.Close()
	w, steps, err := p.Build(network, cache.Dir(dir))
	if err != nil {
		return Otherwise, err
	}

	w.late = 9 * Machine
	tell := NewNarrator(out)
	tell.Plain("%s, on this machine: HTTPS and WebSocket on %s, MQTT on %s, store in %s.", p.Cast,
		network.HTTPSAddr(), network.MQTTAddr(), dir)
	r := Play(ctx, w, tell, steps)
	if ctx.Err() != nil {
		tell.Plain("\ninterrupted")
		return Interrupted, nil
	}
	p.Print(r, tell)
	if !r.AsExpected() {
		return Otherwise, nil
	}
	return AsExpected, nil
}

// Rehearse plays the steps in a world that may be in memory, and returns what it has printed.
func (p *Program) Rehearse(
	ctx context.Context, w *World, steps []Step,
) (r *Report, printed string) {
	var out bytes.Buffer
	tell := NewNarrator(&out)
	r = Play(ctx, w, tell, steps)
	p.Print(r, tell)
	return r, out.String()
}
